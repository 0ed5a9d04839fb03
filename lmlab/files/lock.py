"""An operating-system lock on an open file: it dies with the process that holds it, however that dies."""

from __future__ import annotations

import os
from typing import IO, Any

LOCKED_BYTE = 1 << 30
"""Windows locks bytes, and forbids others to read them: this one lies beyond what is ever written."""


def try_lock(file: IO[Any], shared: bool = False) -> bool:
    """Lock `file` without waiting; False where another holds it. Closing the file unlocks it.

    A shared lock only asks whether anyone holds the other kind. OSError where the file system has no locks.
    """
    if os.name == "nt":
        return _try_lock_windows(file)
    import fcntl

    try:
        fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
