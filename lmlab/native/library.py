"""The CPU engine's library in this process: loaded once, or the reason why not.

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
from lmlab.native.build import Build, find_or_build

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
        return self.build.sha256[:16]


@dataclass(frozen=True)
class Missing:
    """There is no library here; `reason` says why in one line, and what to do."""

    reason: str


_loaded: dict[Path, Library | Missing] = {}


def load(say: Callable[[str], object] | None = None) -> Library | Missing:
    """The engine's library, built where it isn't in the cache yet; never an error for the lack of a compiler.

    `say` (default: to standard error) gets a line where it is built now. LabError where LMLAB_NATIVE is none of its words.
    """
    wish = os.environ.get(SETTING, "")
    if wish not in ("", "off", "rebuild"):
        raise LabError(f"{SETTING} is {wish!r}: expected off, rebuild or nothing")
    if wish == "off":
        return Missing(f"{SETTING} is off")
    cache = cache_folder() / "native"
    if cache not in _loaded:
        _loaded[cache] = _load(cache, say or _tell, rebuild=wish == "rebuild")
    return _loaded[cache]


def _load(cache: Path, say: Callable[[str], object], rebuild: bool) -> Library | Missing:
    try:
        build = find_or_build(SOURCE, cache, say, rebuild)
        return Library(ctypes.CDLL(str(build.path)), build)
    except LabError as error:
        return Missing(str(error))
    except OSError as error:
        return Missing(f"it can't be loaded: {error}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
