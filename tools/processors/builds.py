"""Programs and tests of one build of the engine: compiled, run, and what came of it."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from lmlab.hardware.cpu import logical_cores
from lmlab.native.compiler import COMPILE_FLAGS
from tools.processors.matrix import Configuration

ROOT = Path(__file__).resolve().parents[2]
ENGINE, DRIVER = ROOT / "lmlab" / "native" / "source", ROOT / "tests" / "native" / "driver"
TESTS = (
    "tests/native",
    "tests/generation/test_native_decoding.py",
    "tests/optim/test_native_update.py",
    "tests/training/test_first_part.py",
)
"""All tests whose results the engine computes; whole trainings by it are a part of `make test`."""
NOT_THE_ENGINES = "not pytorch]"
"""Decoding's tests run once more by PyTorch alone, for comparison."""
BUILD = (
    "from lmlab.native.library import load; found = load(); "
    "print(found.build.path if hasattr(found, 'build') else found.reason)"
)
LONGEST_SECONDS = 1800
SHOWN_LINES = 25


@dataclass
class Outcome:
    """What came of a configuration."""

    name: str
    result: str = "passed"
    """`passed`, `failed` or `skipped`."""
    checks: int = 0
    cpu_seconds: float = 0.0
    said: str = ""
    """Why it was skipped, or the last lines of what failed."""
    digest: dict[str, float] = field(default_factory=dict)
    """Results of the driver that all builds must share, to rounding."""


class Failed(Exception):
    """A command that failed, with the end of its output."""


class Workshop:
    """A folder for objects and programs, and as many processes at once as there are cores."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns = threading.Semaphore(logical_cores())
        self._lock = threading.Lock()
        self._objects: dict[tuple[str, ...], Future[Path]] = {}

    def outcome(self, configuration: Configuration) -> Outcome:
        """Build and run; failures are outcomes too."""
        found = Outcome(configuration.name)
        if configuration.lacks:
            found.result, found.said = "skipped", configuration.lacks
            return found
        try:
            (self._test if configuration.kind == "tests" else self._drive)(configuration, found)
        except Failed as error:
            found.result, found.said = "failed", str(error)
        return found

    def _drive(self, configuration: Configuration, found: Outcome) -> None:
        target = [*configuration.compiler, configuration.instructions.flag]
        plain = [flag for flag in COMPILE_FLAGS if not flag.startswith(("-O", "-fvisibility"))]
        # The engine's first: the linker takes the first of equal inline functions, and those are the checked ones.
        objects = [
            self._object([*target, *plain, *configuration.flags], source, found)
            for source in sorted(ENGINE.glob("*.cpp"))
        ]
        # The driver is compiled for the same vectors, but not checked itself: its reference would take most of the time.
        own = [*target, *plain, "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", f"-I{ENGINE}"]
        objects += [self._object(own, source, found) for source in sorted(DRIVER.glob("*.cpp"))]
        program = self._folder / re.sub(r"\W+", "-", configuration.name)
        sanitizers = [flag for flag in configuration.flags if flag.startswith("-fsanitize")]
        self._run([*target, "-pthread", *sanitizers, *map(str, objects), "-o", str(program)], found)
        # The leak check needs ptrace, which an emulator hasn't got.
        leaks = "0" if configuration.emulator else "1"
        # GCC before 13.3 lays out frames for this check at multiples of 32 bytes, also for vectors of 64 (its bug 110027).
        frames = "1" if configuration.compiler[0] == "clang++" else "0"
        settings = {
            "ASAN_OPTIONS": f"detect_leaks={leaks}:detect_stack_use_after_return={frames}",
            "TSAN_OPTIONS": "halt_on_error=1",
        }
        output = self._run(
            [*configuration.emulator, str(program), *(["--short"] if configuration.short else [])], found, settings
        )
        for line in output.splitlines():
            words = line.split(maxsplit=2)
            if words[0] == "digest":
                found.digest[words[2]] = float(words[1])
            elif words[0] == "checks":
                found.checks = int(words[1])

    def _object(self, command: list[str], source: Path, found: Outcome) -> Path:
        """The object of a source, compiled once for all who ask."""
        key = (*command, str(source))
        with self._lock:
            mine = key not in self._objects
            waiting = self._objects.setdefault(key, Future())
            path = self._folder / f"{len(self._objects)}-{source.stem}.o"
        if mine:
            try:
                self._run([*command, "-c", str(source), "-o", str(path)], found)
                waiting.set_result(path)
            except Failed as error:
                waiting.set_exception(error)
        return waiting.result()

    def _test(self, configuration: Configuration, found: Outcome) -> None:
        settings = {
            "CXX": f"{configuration.compiler[0]} {configuration.instructions.flag}",
            "PYTHONPATH": str(ROOT),
            # Where tests/conftest.py keeps engines from session to session.
            "LMLAB_CACHE": str(ROOT / ".pytest_cache" / "d"),
            "LMLAB_NATIVE": "",
        }
        # Without a library the tests would be skipped, not fail.
        library = self._run([sys.executable, "-c", BUILD], found, settings).strip().splitlines()[-1]
        if not Path(library).is_file():
            raise Failed(library)
        if shutil.which("objdump") and configuration.instructions.registers:
            code = self._run(["objdump", "-d", "--no-show-raw-insn", library], found)
            widest = next((name for name in ("zmm", "ymm", "xmm") if f"%{name}" in code), "none")
            if widest != configuration.instructions.registers:
                raise Failed(
                    f"the engine was compiled for {widest} registers: expected {configuration.instructions.registers}"
                )
        chosen = ["-q", "--no-header", "--tb=short", "-p", "no:randomly", "-k", NOT_THE_ENGINES, *TESTS]
        output = self._run([sys.executable, "-m", "pytest", *chosen], found, settings)
        found.checks = int((re.findall(r"(\d+) passed", output) or ["0"])[-1])

    def _run(self, command: list[str], found: Outcome, settings: dict[str, str] | None = None) -> str:
        """A command's output; its processor time is added to `found`."""
        with self._turns, tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "LC_ALL": "C", **(settings or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            late = threading.Timer(LONGEST_SECONDS, process.kill)
            late.start()
            try:
                if hasattr(os, "wait4"):
                    _, status, usage = os.wait4(process.pid, 0)
                    process.returncode = os.waitstatus_to_exitcode(status)
                    found.cpu_seconds += usage.ru_utime + usage.ru_stime
                else:
                    process.wait()
            finally:
                late.cancel()
                with contextlib.suppress(OSError):
                    if process.returncode is None:
                        process.kill()
            output.seek(0)
            said = output.read()
        if process.returncode:
            raise Failed("\n".join([f"{' '.join(command)[:300]} (exit status {process.returncode})", *telling(said)]))
        return said


def telling(output: str) -> list[str]:
    """The lines of a failed command's output that say why: broken promises, the head of a sanitizer's report, or the last."""
    lines = [line for line in output.splitlines() if not line.startswith("digest ")]
    if promises := [line for line in lines if line.startswith("FAILED")]:
        return promises[:SHOWN_LINES]
    reports = [place for place, line in enumerate(lines) if "Sanitizer" in line or "runtime error:" in line]
    return lines[reports[0] :][:SHOWN_LINES] if reports else lines[-SHOWN_LINES:]


def differing(outcome: Outcome, reference: Outcome, share: float) -> list[str]:
    """Which digests of a build aren't those of the reference within `share` of their size, or are missing on either side."""
    names = sorted(set(outcome.digest) | set(reference.digest))
    nowhere = math.nan
    pairs = {name: (outcome.digest.get(name, nowhere), reference.digest.get(name, nowhere)) for name in names}
    return [
        f"{name}: {own!r}, by {reference.name} {other!r}"
        for name, (own, other) in pairs.items()
        if not abs(own - other) <= share * max(abs(own), abs(other))
    ]
