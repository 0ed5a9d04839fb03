"""Loading of the CPU engine's library, once per process.

A process may load several builds: the newest, and the one that a run began with, which is in the run's policy.

`LMLAB_NATIVE=off` disables it; `LMLAB_NATIVE=rebuild` builds it again, also if that failed before.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab import LabError
from lmlab.files import cache_folder
from lmlab.native.build import FORMAT, Build, find_build, find_or_build

SOURCE = Path(__file__).parent / "source"
SETTING = "LMLAB_NATIVE"


@dataclass(frozen=True)
class Library:
    """The loaded library: its functions and its build."""

    functions: ctypes.CDLL
    build: Build

    @property
    def identity(self) -> str:
        """The first 16 hexadecimal digits of the library's SHA-256; equal identities compute equal bits on one machine."""
        return self.build.identity


@dataclass(frozen=True)
class Missing:
    """The result of `load` without a library; `reason` is one line with the cause and what to do."""

    reason: str


_loaded: dict[tuple[Path, str], Library | Missing] = {}
"""(cache folder, identity) -> result; the newest build has an empty identity."""


def load(say: Callable[[str], object] | None = None, identity: str = "") -> Library | Missing:
    """Return the engine's newest library, built if it isn't in the cache yet, or `Missing`, for example without a compiler.

    With an `identity`, return the build of that identity: it must be in the cache, for this processor, and of this version's
    format.

    `say` (default: print to standard error) is called with a line if the library is built now. LabError if LMLAB_NATIVE has an
    invalid value.
    """
    requested = os.environ.get(SETTING, "")
    if requested not in ("", "off", "rebuild"):
        raise LabError(f"{SETTING} is {requested!r}: expected off, rebuild or nothing")
    if requested == "off":
        return Missing(f"{SETTING} is off")
    cache = cache_folder() / "native"
    if (not identity or requested == "rebuild") and (cache, "") not in _loaded:
        newest = _load(lambda: find_or_build(SOURCE, cache, say or _tell, requested == "rebuild"))
        _loaded[cache, ""] = newest
        if isinstance(newest, Library):
            _loaded[cache, newest.identity] = newest
    # A missing build may be made later by another process, so only found ones are kept.
    if (cache, identity) not in _loaded:
        found = _load(lambda: _found(identity, cache))
        if isinstance(found, Missing):
            return found
        _loaded[cache, identity] = found
    return _loaded[cache, identity]


def _load(find: Callable[[], Build]) -> Library | Missing:
    try:
        build = find()
        library = Library(ctypes.CDLL(str(build.path)), build)
        if (found := library.functions.lmlab_format()) != FORMAT:
            return Missing(f"the build {build.identity} has format {found}: expected {FORMAT}")
    except LabError as error:
        return Missing(str(error))
    except OSError as error:
        return Missing(f"it can't be loaded: {error}")
    return library


def _found(identity: str, cache: Path) -> Build:
    if (build := find_build(identity, cache)) is None:
        raise LabError(f"its build {identity} isn't in {cache}, or is none for this processor")
    return build


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
