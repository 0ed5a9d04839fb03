#!/usr/bin/env python3
"""Set up lmlab in .venv and run one of its everyday commands there. Plain Python, nothing to install first.

    python tools/set_up.py               make .venv, if it isn't there yet or no longer fits
    python tools/set_up.py demo          the same without the tests' packages, then train the first model and draw its curves
    python tools/set_up.py test [...]    set up, then the tests (what follows goes to pytest)
    python tools/set_up.py test-faults   set up, then thousands of kills of trainings, refusing disks, second writers: an hour
    python tools/set_up.py test-processors    set up, then the native engine by every compiler and on every processor
    python tools/set_up.py coverage      set up, then the tests again, and the lines and branches that they did not run
    python tools/set_up.py lint | types | clean

`make demo` and the like call this script; on Windows, where there is no make, call it yourself.
"""

from __future__ import annotations

import collections
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
SUFFIX = ".exe" if os.name == "nt" else ""
PYTHON = BIN / ("python" + SUFFIX)
STAMP = VENV / ".lmlab-set-up"
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST_PYTHON = (3, 11)
OLDEST_TORCH = (2, 10)
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
RUNTIME, DEVELOPMENT = ".", ".[dev]"
"""What pip is asked for: lmlab with what a training and its report need, or with what tests and checks need as well."""
MOST_WORKERS = 4
"""Processes of one test session: each has about 1 GB of memory, and takes several seconds to import everything."""
BITWISE = ("tests/native", "tests/generation", "tests/optim")
"""Where the tests marked `bitwise` are: collecting all others would take longer than they do."""
LAST_LINES = 12
LARGE_DOWNLOAD = re.compile(r"Downloading (?P<file>\S+) (?P<size>\([0-9.]+ ?[MG]i?B\))")
"""A line of pip's or uv's."""
LEFTOVERS = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "htmlcov", "build", "dist", "lmlab.egg-info")


class SetUpError(Exception):
    """What stopped the set-up, in one line."""


def main(words: list[str]) -> int:
    """Set up, then run the command that `words` name; returns its exit status."""
    command, rest = (words[0], words[1:]) if words else ("", [])
    if command in ("-h", "--help") or (command and command not in COMMANDS):
        print(__doc__.strip())
        return 0 if command.startswith("-") else 2
    # Bytecode is written by what first imports a module, also where the shell has forbidden it: pip isn't asked to compile
    # thousands of modules that nobody imports, and the tests start Python hundreds of times.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        if command == "clean":
            return clean()
        set_up(RUNTIME if command == "demo" else DEVELOPMENT)
        return COMMANDS[command](rest) if command else 0
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: stopped", file=sys.stderr)
        return 130


# The everyday commands


def demo(rest: list[str]) -> int:
    """Train the first model under a name that is still free, then draw its curves."""
    runs = ROOT / (os.environ.get("LMLAB_RUNS") or "runs")
    number = 1
    while (runs / f"demo-{number}").exists():
        number += 1
    lmlab = BIN / ("lmlab" + SUFFIX)
    return show_and_run([lmlab, "train", "first", "--run", f"demo-{number}", *rest]) or show_and_run(
        [lmlab, "report", f"demo-{number}"]
    )


def test(rest: list[str]) -> int:
    """The tests, in one process a core; chosen ones in one process.

    All of them are followed by the engine's bit-for-bit tests for the instruction set below this machine's own: what holds for
    one has failed for another.
    """
    if rest:
        return show_and_run([PYTHON, "-m", "pytest", *rest])
    status = show_and_run([PYTHON, "-m", "pytest", *in_parallel()])
    lower = quiet(PYTHON, "-m", "tools.processors", "--next-lower").stdout.strip()
    if lower:
        bitwise = [PYTHON, "-m", "pytest", *in_parallel(), "-m", "bitwise", *BITWISE]
        status = show_and_run(bitwise, {"CXX": lower}) or status
    return status


def in_parallel() -> list[str]:
    """pytest's words for one process a core; none where there is one core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A worker that runs out of tests takes over some of another's.
    return ["-n", str(min(cores, MOST_WORKERS)), "--dist", "worksteal"] if cores > 1 else []


def test_faults(rest: list[str]) -> int:
    """The long fault suite; its counts go to docs/faults.json. LMLAB_FAULTS_SEED chooses other points."""
    os.environ.setdefault("LMLAB_FAULTS_OUT", str(ROOT / "docs" / "faults.json"))
    return show_and_run([PYTHON, "-m", "pytest", "tests/faults", "-m", "faults or not faults", *rest])


def test_processors(rest: list[str]) -> int:
    """The native engine on every processor that is here or emulated; what came of it goes to docs/processors.md."""
    return show_and_run([PYTHON, "-m", "tools.processors", *rest])


def coverage(rest: list[str]) -> int:
    """The tests with a table of the lines and branches that they did not run, and the same as pages in htmlcov/."""
    reports = ("--cov", "--cov-report=term-missing", "--cov-report=html")
    return show_and_run([PYTHON, "-m", "pytest", *([] if rest else in_parallel()), *reports, *rest])


def lint(rest: list[str]) -> int:
    """What ruff finds, and whether the tree is formatted."""
    found = show_and_run([PYTHON, "-m", "ruff", "check", *rest])
    return show_and_run([PYTHON, "-m", "ruff", "format", "--check", *rest]) or found


def types(rest: list[str]) -> int:
    """What mypy finds."""
    return show_and_run([PYTHON, "-m", "mypy", *rest])


def clean() -> int:
    """Remove what tests, tools and builds left; .venv and runs stay."""
    found = [ROOT / name for name in LEFTOVERS] + list(ROOT.glob(".coverage*"))
    for folder in ("lmlab", "tests", "tools"):
        found += (ROOT / folder).rglob("__pycache__")
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return 0


COMMANDS = {
    "demo": demo,
    "test": test,
    "test-faults": test_faults,
    "test-processors": test_processors,
    "coverage": coverage,
    "lint": lint,
    "types": types,
    "clean": clean,
}


def show_and_run(command: list, settings: dict[str, str] | None = None) -> int:
    """Print a command as a person would type it, run it in the project's folder and return its exit status.

    `settings` are set in its environment.

    Ctrl-C reaches the command as well: it ends in its own way, after saving, and we wait for that.
    """
    words = [str(word) for word in command]
    shown = [word.replace(str(ROOT) + os.sep, "") for word in words]
    shown = [f"{name}={value}" for name, value in (settings or {}).items()] + shown
    print("$ " + " ".join(f'"{word}"' if " " in word else word for word in shown), flush=True)
    process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **(settings or {})})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


# The set-up


def set_up(wanted: str = DEVELOPMENT) -> None:
    """Make .venv hold lmlab and the pinned versions of all that `wanted` needs, unless a stamp says that it does."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetUpError(
            f"lmlab needs Python {version(OLDEST_PYTHON)} or newer, and {sys.executable} is "
            f"{version(sys.version_info[:3])}: "
            "name another one, as in `make PYTHON=python3.12 demo` or `python3.12 tools/set_up.py demo`"
        )
    if PYTHON.exists() and installed() in (wanted, DEVELOPMENT):
        return
    began = time.monotonic()
    make_environment()
    STAMP.unlink(missing_ok=True)
    torch = torch_version() or install_torch()
    constraints = constraints_for(torch)
    what = "lmlab" if wanted == RUNTIME else "lmlab and what its tests and checks need"
    say(f"installing {what} with the versions in constraints.txt")
    install("installing lmlab", "-c", str(constraints), "-e", wanted)
    check_import()
    STAMP.write_text(stamp(wanted))
    say(f"ready after {time.monotonic() - began:.0f} s: .venv has lmlab and torch {torch}")


def installed() -> str | None:
    """What .venv was last set up for, RUNTIME or DEVELOPMENT; None where that was never, or something has changed since."""
    found = STAMP.read_text() if STAMP.exists() else ""
    return next((wanted for wanted in (RUNTIME, DEVELOPMENT) if found == stamp(wanted)), None)


def stamp(wanted: str) -> str:
    """The stamp of a set-up for `wanted`: a hash of all that decides what .venv should hold, and of where it is.

    Installed commands name their folder.
    """
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__), VENV / "pyvenv.cfg"):
        digest.update(path.read_bytes())
    return f"{digest.hexdigest()} {wanted}\n"


def make_environment() -> None:
    """A virtual environment in .venv; one that runs and is new enough is kept, whichever Python made it."""
    if PYTHON.exists():
        found = quiet(PYTHON, "-c", f"import sys, pip; sys.exit(sys.version_info < {OLDEST_PYTHON})")
        if found.returncode == 0:
            return
    say(f"making .venv with Python {version(sys.version_info[:3])}")
    if shutil.which("uv"):
        shutil.rmtree(VENV, ignore_errors=True)
        # With pip in it, for whoever wants to add a package, and for us where uv can't install one.
        if quiet("uv", "venv", "--seed", "--python", sys.executable, VENV).returncode == 0:
            return
    try:
        import ensurepip  # noqa: F401  Debian and Ubuntu ship Python without it
        import venv
    except ImportError:
        raise SetUpError(
            f"{sys.executable} can't make virtual environments: install its venv module "
            f"(Debian, Ubuntu: sudo apt install python{version(sys.version_info[:2])}-venv)"
        ) from None
    try:
        venv.create(VENV, clear=True, with_pip=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetUpError(f"no virtual environment can be made in {VENV}: {error}") from None


def torch_version() -> str | None:
    """The version of the torch that .venv already has, or None where that is none, broken or too old."""
    found = quiet(PYTHON, "-c", "import torch; print(torch.__version__)")
    text = found.stdout.strip()
    if found.returncode or not text:
        return None
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    return text if numbers >= OLDEST_TORCH else None


def install_torch() -> str:
    """Install the pinned torch and return its version.

    On Linux the usual index has the CUDA build, which brings gigabytes of packages that a machine without an NVIDIA GPU
    can't use: there PyTorch's own index of CPU builds comes first. The configured extra indexes and folders count in
    both cases, so a build that they offer is found too.
    """
    pinned = pinned_torch()
    if sys.platform == "linux" and not has_nvidia_gpu():
        say(f"installing {pinned}, the CPU build (this machine has no NVIDIA GPU)")
        try:
            install("", "--no-deps", "--index-url", CPU_BUILDS, pinned)
        except SetUpError as error:
            say(f"no CPU build from {CPU_BUILDS} ({error})")
            say("taking the configured index instead: that may be the CUDA build, several gigabytes with its packages")
            install(f"installing {pinned}", "-c", str(CONSTRAINTS), pinned)
    else:
        say(f"installing {pinned} (the longest part)")
        install(f"installing {pinned}", "-c", str(CONSTRAINTS), pinned)
        if os.name == "nt" and has_nvidia_gpu():
            say("for the NVIDIA GPU of this machine, install the CUDA build: https://pytorch.org/get-started/locally")
    return installed_version("torch")


def pinned_torch() -> str:
    """The line of constraints.txt that pins torch."""
    return next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))


def constraints_for(torch: str) -> Path:
    """constraints.txt; or, where .venv keeps another torch than the pinned one, a copy without its line."""
    if pinned_torch() == f"torch=={torch.partition('+')[0]}":
        return CONSTRAINTS
    say(f"keeping torch {torch}, which .venv already had")
    others = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("torch==")]
    copy = VENV / "constraints.txt"
    copy.write_text("\n".join(others) + "\n")
    return copy


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver is here."""
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def installed_version(package: str) -> str:
    """The version of a package in .venv, from its metadata."""
    found = quiet(PYTHON, "-c", f"import importlib.metadata; print(importlib.metadata.version('{package}'))")
    return found.stdout.strip()


def check_import() -> None:
    """Import what was just installed, so that a broken library is named here and not in the middle of a run."""
    found = quiet(PYTHON, "-c", "import torch, lmlab.cli")
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetUpError(f"everything is installed, but torch and lmlab can't be imported: {last}")


def install(purpose: str, *arguments: str) -> None:
    """Install into .venv: by uv where it is at hand, which is several times as fast, and by pip where it isn't or it fails.

    uv reads another configuration than pip, so that it may not find what pip finds. SetUpError where both fail: without a
    purpose the failure is the caller's to explain, nothing is printed, and the error is pip's own last word.
    """
    if shutil.which("uv"):
        patience = {"UV_HTTP_TIMEOUT": "15", "UV_HTTP_RETRIES": "1"}
        failed, last = run_installer(["uv", "pip", "install", "--python", str(PYTHON), *arguments], patience)
        if not failed:
            return
        say(f"uv failed ({next((line.strip() for line in last if line.strip()), 'it gives no reason')}): taking pip")
    pip(purpose, *arguments)


def pip(purpose: str, *arguments: str) -> None:
    """`install` by pip."""
    plain = ("--progress-bar", "off", "--no-input", "--disable-pip-version-check", "--no-compile")
    impatient = () if purpose else ("--retries", "1", "--timeout", "15")
    failed, last = run_installer([str(PYTHON), "-m", "pip", "install", *plain, *impatient, *arguments])
    if not failed:
        return
    if not purpose:
        raise SetUpError(next((line for line in reversed(last) if line.startswith("ERROR")), "pip gives no reason"))
    print("\n".join("  pip: " + line for line in last), file=sys.stderr)
    raise SetUpError(f"{purpose} failed: pip's last lines stand above; once it is mended, the same command goes on")


def run_installer(command: list[str], environment: dict[str, str] | None = None) -> tuple[bool, list[str]]:
    """Run uv or pip, naming the large downloads: whether it failed, and its last lines."""
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout:
            last.append(line.rstrip())
            found = LARGE_DOWNLOAD.fullmatch(line.strip())
            if found:
                package = " ".join(found["file"].rpartition("/")[2].split("-")[:2])
                print(f"        {package} {found['size']}", flush=True)
    return process.returncode != 0, list(last)


def quiet(*command: object) -> subprocess.CompletedProcess[str]:
    """A short command's exit status and output."""
    return subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)


def version(numbers: tuple[int, ...]) -> str:
    """(3, 11) as "3.11"."""
    return ".".join(map(str, numbers))


def say(line: str) -> None:
    """One line of progress."""
    print(f"set-up: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
