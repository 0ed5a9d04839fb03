"""The cache folder, for things that can be made again: downloads, prepared data sets, compiled code.

`LMLAB_CACHE` names the folder; without it, it's the system's usual place for caches.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lmlab import LabError, StorageError
from lmlab.files.storage import reason

LONGEST_SHOWN = 200
"""Longest path shown in a message, in characters."""


def cache_folder() -> Path:
    """Return $LMLAB_CACHE, or `lmlab` in the user's cache folder of this system (not created here)."""
    chosen = os.environ.get("LMLAB_CACHE")
    if chosen:
        return place_for_folder(Path(chosen).expanduser(), "LMLAB_CACHE")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lmlab"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lmlab" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lmlab"


def make_folder(
    folder: Path, advice: str = "set LMLAB_CACHE to a folder that can be written", mode: int = 0o777
) -> Path:
    """Create `folder` with `mode` (less the umask) if it doesn't exist, and return it.

    Raises StorageError, with the `advice`, if it can't be created, or this user may not write into it.
    """
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{_short(folder)} can't be created ({reason(error)}): {advice}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"{_short(folder)} can't be written by this user: {advice}")
    return folder


def place_for_folder(folder: Path, named: str) -> Path:
    """Return `folder`; raises LabError, with the flag or variable `named`, if it is a file or can't be a folder's name."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        problem = "" if there.is_dir() else f"{_short(there)} is a file"
    except OSError as error:
        problem = reason(error)
    except (StopIteration, ValueError):  # such as a null byte
        problem = "no such place"
    if problem:
        raise LabError(f"{named} is {_short(folder)}: {problem}; expected a folder")
    return folder


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
