"""Selection of the C++ compiler, and its flags."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import read_json, write_shared
from lmlab.native.process import run_command

MEMORY = "compilers.json"
"""File of the cache with the version line of each compiler, valid while its binary is unchanged."""
USUAL = ("clang++", "g++") if sys.platform == "win32" else ("g++", "clang++", "c++")
GAIN = "install one for up to 2x the speed on a CPU"
NO_COMPILER = f"there is no C++ compiler (g++ or clang++): {GAIN}"
NONE_ON_WINDOWS = f"there is no C++ compiler that can build it (clang++ or MinGW's g++; MSVC's cl can't): {GAIN}"
MICROSOFT = ("cl", "clang-cl")
TIMEOUT_SECONDS = 60

# No -ffast-math: the compiler must not reorder sums, and NaN must stay NaN. Nor may it contract multiplications and additions: the
# source does so explicitly. errno and floating-point exceptions aren't used.
COMPILE_FLAGS = (
    *("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
    *("-fvisibility=hidden", "-pthread"),
)
TARGETS = {"x86_64": "-march=native", "amd64": "-march=native", "arm64": "-mcpu=native", "aarch64": "-mcpu=native"}
CHOICES_OF_TARGET = ("-march=", "-mcpu=")
"""Flags that select the target processor; -mno-avx512f and the like only exclude some instructions."""


@dataclass(frozen=True)
class Compiler:
    """A compiler that runs; `version` is the first line of its `--version`."""

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """Name of the compiler's program, such as g++, without wrappers and flags."""
        return Path([word for word in self.command if not word.startswith("-")][-1]).stem


def find_compiler(cache: Path) -> Compiler:
    """Return the compiler $CXX, else the first usual one that runs. LabError if there is none. `cache` stores version lines."""
    if chosen := os.environ.get("CXX", "").strip():
        words = shlex.split(chosen, posix=os.name != "nt")
        if Path(words[0]).stem.lower() in MICROSOFT:
            raise LabError(f"CXX is {chosen}, which can't build it: set it to clang++ or MinGW's g++")
        if (found := _probed(words, cache)) is None:
            raise LabError(f"CXX is {chosen}, which can't be run: set it to a C++ compiler, or leave it out")
        return found
    for name in USUAL:
        if (found := _probed([name], cache)) is not None:
            return found
    raise LabError(NONE_ON_WINDOWS if sys.platform == "win32" else NO_COMPILER)


def compile_flags(chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the flags that compile a source to an object for this processor, or for the target in the user's `chosen` flags."""
    target = TARGETS.get(platform.machine().lower())
    if any(flag.startswith(CHOICES_OF_TARGET) for flag in chosen):
        target = None  # the compiler would use the last one, which is ours
    return (*COMPILE_FLAGS, *([target] if target else []), *([] if os.name == "nt" else ["-fPIC"]))


def without_target(flags: Sequence[str]) -> tuple[str, ...]:
    """Return `flags` for any processor of this architecture."""
    return tuple(flag for flag in flags if flag not in TARGETS.values())


def link_flags() -> tuple[str, ...]:
    """Return the flags that link objects to a library; on Windows MinGW's libraries are linked statically, since they aren't found
    at load time.
    """
    if sys.platform == "darwin":
        return ("-dynamiclib", "-pthread")
    return ("-shared", "-static", "-pthread") if os.name == "nt" else ("-shared", "-pthread")


def _probed(words: list[str], cache: Path) -> Compiler | None:
    """Return the compiler of this command; None if there is no such program or it doesn't run."""
    path = shutil.which(words[0])
    if path is None or os.path.isdir(path):
        return None
    command = (path, *words[1:])
    facts = os.stat(path)
    key, mark = " ".join(command), [facts.st_mtime_ns, facts.st_size]
    known = _memory(cache / MEMORY)
    if known.get(key, [])[:2] == mark:
        return Compiler(command, known[key][2])
    if (line := _version_line(command)) is None:
        return None
    with contextlib.suppress(OSError, LabError):  # if the cache can't be written, the version is queried each time
        write_shared(cache / MEMORY, {**known, key: [*mark, line]})
    return Compiler(command, line)


def _memory(path: Path) -> dict[str, Any]:
    """Return the stored version lines; empty if the file is missing or damaged."""
    try:
        value = read_json(path)
    except LabError:
        return {}
    entries = value.items() if isinstance(value, dict) else ()
    return {
        key: entry
        for key, entry in entries
        if isinstance(entry, list) and len(entry) == 3 and isinstance(entry[2], str)
    }


def _version_line(command: tuple[str, ...]) -> str | None:
    if sys.platform == "darwin" and command[0].startswith("/usr/bin/") and not _has_developer_tools():
        return None
    try:
        result = run_command([*command, "--version"], TIMEOUT_SECONDS)
    except OSError:
        return None
    lines = [line.strip() for line in result.output.splitlines() if line.strip()]
    return lines[0] if result.status == 0 and lines else None


def _has_developer_tools() -> bool:
    """Return whether a Mac has the developer tools; without them /usr/bin/clang++ only opens a dialog to install them."""
    return run_command(["xcode-select", "-p"], TIMEOUT_SECONDS).status == 0
