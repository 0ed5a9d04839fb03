"""An operating-system lock on an open file, which is released when its process ends, however it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lmlab import StorageError
from lmlab.files.cache import make_folder
from lmlab.files.storage import DISK, reason

POLL_SECONDS = 0.1
LOCKED_BYTE = 1 << 30
"""Windows locks byte ranges and forbids others to read them: this byte is beyond everything that is written."""


def try_lock(file: IO[Any], shared: bool = False) -> bool:
    """Lock `file` without waiting; return False if another process holds the lock. Closing the file unlocks it.

    A shared lock tests whether another process holds an exclusive one. Raises OSError if the file system has no locks.
    """
    if os.name == "nt":
        return _try_lock_windows(file)
    import fcntl

    try:
        fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class FileLock:
    """Context manager that lets one process at a time build something: `with FileLock(path, say, "message while waiting"): ...`.

    A second process reports the message and waits until the first is done, and then finds what that one made. Raises StorageError
    if the system refuses the lock or its folder, or the file is a link.
    """

    def __init__(self, path: Path, say: Callable[[str], object], waiting: str) -> None:
        self.path = path
        self.say = say
        self.waiting = waiting
        self._file: IO[Any] | None = None

    def __enter__(self) -> FileLock:
        make_folder(self.path.parent)
        try:
            self._file = DISK.open(self.path, "ab")
            self._wait(self._file)
        except OSError as error:
            self.__exit__()
            raise StorageError(
                f"{self.path} can't be locked: {reason(error)}; choose a folder that can be written, on a disk that has locks"
            ) from None
        return self

    def _wait(self, file: IO[Any]) -> None:
        announced = False
        while not try_lock(file):
            if not announced:
                self.say(self.waiting)
                announced = True
            time.sleep(POLL_SECONDS)

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _try_lock_windows(file: IO[Any]) -> bool:
    import msvcrt

    os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except PermissionError:
        return False
    finally:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    return True
