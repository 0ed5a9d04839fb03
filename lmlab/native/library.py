"""The CPU engine's library in this process: loaded once, or the reason why not.

A process may hold several: the newest build, and the one that a run began with, which its policy names.

`LMLAB_NATIVE=off` leaves it out; `LMLAB_NATIVE=rebuild` builds it anew, also where that failed before.
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
    """The loaded library: its functions, and how it was built."""

    functions: ctypes.CDLL
    build: Build

    @property
    def identity(self) -> str:
        """16 hexadecimal digits of the library's SHA-256: equal ones compute equal bits on one machine."""
        return self.build.identity


@dataclass(frozen=True)
class Missing:
    """There is no library here; `reason` says why in one line, and what to do."""

    reason: str


_loaded: dict[tuple[Path, str], Library | Missing] = {}
"""By the cache's folder and the identity; that of the newest is empty here."""


def load(say: Callable[[str], object] | None = None, identity: str = "") -> Library | Missing:
    """The engine's newest library, built where it isn't in the cache yet; never an error for the lack of a compiler.

    With an `identity` it is the build that has it: one in the cache, made for this processor, of this version's format.

    `say` (default: to standard error) gets a line where it is built now. LabError where LMLAB_NATIVE is none of its words.
    """
    wish = os.environ.get(SETTING, "")
    if wish not in ("", "off", "rebuild"):
        raise LabError(f"{SETTING} is {wish!r}: expected off, rebuild or nothing")
    if wish == "off":
        return Missing(f"{SETTING} is off")
    cache = cache_folder() / "native"
    if (not identity or wish == "rebuild") and (cache, "") not in _loaded:
        newest = _load(lambda: find_or_build(SOURCE, cache, say or _tell, wish == "rebuild"))
        _loaded[cache, ""] = newest
        if isinstance(newest, Library):
            _loaded[cache, newest.identity] = newest
    # What isn't there now may be built later by another process, so only what was found is kept.
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
