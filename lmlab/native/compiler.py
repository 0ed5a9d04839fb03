"""The C++ compiler of this machine, and the flags that the engine is compiled with."""

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
"""File of the cache that remembers each compiler's version line for as long as its binary is unchanged."""
USUAL = ("clang++", "g++") if sys.platform == "win32" else ("g++", "clang++", "c++")
GAIN = "install one for up to 2x the speed on a CPU"
NO_COMPILER = f"there is no C++ compiler (g++ or clang++): {GAIN}"
NONE_ON_WINDOWS = f"there is no C++ compiler that can build it (clang++ or MinGW's g++; MSVC's cl can't): {GAIN}"
MICROSOFT = ("cl", "clang-cl")
TIMEOUT_SECONDS = 60

# No -ffast-math: sums may not be reordered behind the source's back, and NaN must stay NaN. Nor may the compiler fuse a
# multiplication and an addition where it likes: the source says where. Nobody reads errno or the floating-point exceptions.
COMPILE_FLAGS = (
    *("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
    *("-fvisibility=hidden", "-pthread"),
)
TARGETS = {"x86_64": "-march=native", "amd64": "-march=native", "arm64": "-mcpu=native", "aarch64": "-mcpu=native"}
CHOICES_OF_TARGET = ("-march=", "-mcpu=")
"""What says which instructions may be used; -mno-avx512f and the like only take some of them away."""


@dataclass(frozen=True)
class Compiler:
    """A compiler that results; `version` is the first line of what it says about itself."""

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """Its program's name, as in g++, whatever calls it and whatever flags it has."""
        return Path([word for word in self.command if not word.startswith("-")][-1]).stem


def find_compiler(cache: Path) -> Compiler:
    """$CXX, else the usual ones; LabError with the reason where there is none. `cache` remembers version lines."""
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
    """For one source to an object: for this processor, unless the flags that the user has `chosen` name another target."""
    target = TARGETS.get(platform.machine().lower())
    if any(flag.startswith(CHOICES_OF_TARGET) for flag in chosen):
        target = None  # of two the compiler would take ours, which comes later
    return (*COMPILE_FLAGS, *([target] if target else []), *([] if os.name == "nt" else ["-fPIC"]))


def without_target(flags: Sequence[str]) -> tuple[str, ...]:
    """`flags` for any processor of this architecture."""
    return tuple(flag for flag in flags if flag not in TARGETS.values())


def link_flags() -> tuple[str, ...]:
    """For the objects to a library. On Windows nothing beside it is found, so MinGW's own libraries go into it."""
    if sys.platform == "darwin":
        return ("-dynamiclib", "-pthread")
    return ("-shared", "-static", "-pthread") if os.name == "nt" else ("-shared", "-pthread")


def _probed(words: list[str], cache: Path) -> Compiler | None:
    """The compiler that `words` call, None where there is no such program or it doesn't run."""
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
    with contextlib.suppress(OSError, LabError):  # a cache that can't be written only asks again
        write_shared(cache / MEMORY, {**known, key: [*mark, line]})
    return Compiler(command, line)


def _memory(path: Path) -> dict[str, Any]:
    """What was remembered; a damaged memory is none."""
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
    """On a Mac without them, /usr/bin/clang++ is a stand-in that opens a window which offers to install them."""
    return run_command(["xcode-select", "-p"], TIMEOUT_SECONDS).status == 0
