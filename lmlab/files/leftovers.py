"""Work folders locked by their process, and the removal of those that dead processes left.

    PLACE/PREFIX<32 random digits>/
      .lock   an operating-system lock held by the process, released when the process ends

A folder is removed if its lock is free and it hasn't changed for an hour. One alone isn't enough: some network file systems keep
locks local to a machine, and a clock can jump by days. Ages are measured by the file system's own clock, which dates the files.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from lmlab.files.cache import make_folder
from lmlab.files.durable import TEMPORARY, write_json
from lmlab.files.links import is_link
from lmlab.files.lock import try_lock
from lmlab.files.storage import DISK, remove_tree, writing_failed

LOCK = ".lock"
OLD_SECONDS = 3600
OWN = 0o700


class TemporaryFolder:
    """A folder owned by this process, from `temporary_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = DISK.open(path / LOCK)
        with contextlib.suppress(OSError):  # no locks on this file system: only the folder's age protects it
            try_lock(self._lock)

    def release(self) -> None:
        """Release the lock and remove its file, right before the folder is renamed to its final name.

        Windows can't rename a folder that contains an open file.
        """
        if not self._lock.closed:
            os.utime(self.path)  # from here on the folder's age protects it
            self._lock.close()
            DISK.remove(self.path / LOCK)

    def remove(self) -> None:
        """Remove the folder, unless it was renamed; what the system refuses to remove is left for `remove_dead`."""
        self._lock.close()
        with contextlib.suppress(OSError):
            remove_tree(self.path)


@contextlib.contextmanager
def temporary_folder(place: Path, prefix: str, mode: int = OWN) -> Iterator[TemporaryFolder]:
    """Create a new folder in `place` for the duration of the context; raises StorageError if the system refuses it."""
    path = place / f"{prefix}{secrets.token_hex(16)}"
    try:
        path.mkdir(mode)
        work = TemporaryFolder(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove_tree(path)
        raise writing_failed(place, error) from None
    try:
        yield work
    finally:
        work.remove()


def remove_dead(place: Path, prefix: str) -> None:
    """Remove the work folders in `place` whose processes died. What the system refuses to remove stays."""
    named = re.compile(f"{re.escape(prefix)}[0-9a-f]{{32}}")
    with contextlib.suppress(OSError):
        found = [entry for entry in sorted(place.iterdir()) if named.fullmatch(entry.name) and not is_link(entry)]
        old = file_system_time(place) - OLD_SECONDS if found else 0.0
        for entry in found:
            with contextlib.suppress(OSError):
                # In this order, since `release` updates the folder's time before it releases the lock.
                if _is_free(entry / LOCK) and _changed(entry) < old:
                    remove_tree(entry)


def remove_old_temporaries(place: Path) -> None:
    """Remove what killed writers left in a folder that several processes write to at once."""
    with contextlib.suppress(OSError):
        found = [entry for entry in sorted(place.iterdir()) if TEMPORARY.fullmatch(entry.name)]
        old = file_system_time(place) - OLD_SECONDS if found else 0.0
        for entry in found:
            with contextlib.suppress(OSError):
                facts = entry.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_mtime < old:
                    DISK.remove(entry)


def write_shared(path: Path, value: Any) -> None:
    """Write JSON into a folder that other processes write to as well: create the folder, and remove old temporary files."""
    make_folder(path.parent)
    write_json(path, value)
    remove_old_temporaries(path.parent)


def file_system_time(place: Path) -> float:
    """Return the present time by the clock that dates the files in `place`: on a network file system that of its server."""
    path = place / f".clock.{secrets.token_hex(8)}.tmp"
    try:
        with DISK.open(path) as file:
            return os.fstat(file.fileno()).st_mtime
    finally:
        with contextlib.suppress(OSError):
            DISK.remove(path)


def _is_free(lock: Path) -> bool:
    """Return whether no process holds the lock. True if it is missing: the process died before it was made, or released it."""
    try:
        if not stat.S_ISREG(lock.lstat().st_mode):
            return False
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        with FileIO(os.open(lock, flags), "r+") as file:
            return try_lock(file)
    except FileNotFoundError:
        return True
    except OSError:  # no locks on this file system: unknown
        return False


def _changed(folder: Path) -> float:
    """Return when the folder or anything in it was last changed."""
    newest = folder.lstat().st_mtime
    for entry in folder.iterdir():
        facts = entry.lstat()
        deeper = stat.S_ISDIR(facts.st_mode) and not is_link(entry)
        newest = max(newest, _changed(entry) if deeper else facts.st_mtime)
    return newest
