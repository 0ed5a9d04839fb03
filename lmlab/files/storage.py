"""The disk operations that durable writing consists of, behind one object, so that tests can make each of them fail.

Everything that must survive a crash goes through a `Storage`: the checkpoint protocol, pointers, the truncation of journals.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Literal

from lmlab import StorageError
from lmlab.files.links import is_link

ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space or choose another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions or choose another folder"),
    errno.EROFS: "choose a folder that can be written",
    errno.ENOENT: "its folder was removed or moved: put it back or choose another one",
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), "expected a folder, not a file: choose another one"),
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""errno of a refused write -> what can be done about it."""
NOT_OFFERED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""Errors of network and user-space file systems that can't flush a folder."""
BLOCKED = (5, 32)
"""Windows's errors (access denied, sharing violation) if another process, such as a virus scanner, has the file open."""
BLOCKED_SECONDS = 2.0
"""How long a rename waits for a reader to close the file."""
LONGEST_PAUSE_SECONDS = 0.1


class Storage:
    """The operations on the disk. Each one raises OSError if the system refuses it."""

    def require_owner(self) -> None:
        """Raise if another process owns this folder by now; a plain disk has no owner and never raises."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder; raises OSError if it exists."""
        folder.mkdir()

    def open(self, path: Path, mode: Literal["xb", "ab"] = "xb") -> FileIO:
        """Open a file for writing, a new one ("xb") or at its end ("ab"), unbuffered.

        A link is refused, and with "xb" any existing file, so nothing planted there can be overwritten.
        """
        return FileIO(path, mode, opener=_open_no_link)

    def write(self, file: FileIO, content: bytes | memoryview) -> None:
        """Write all of `content`; the system may accept it in several parts."""
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) or 0 :]

    def truncate(self, file: FileIO, length: int) -> None:
        """Truncate a file to `length` bytes."""
        file.truncate(length)

    def flush(self, file: FileIO) -> None:
        """Return when the file's bytes are on the disk."""
        if sys.platform == "darwin":
            import fcntl

            # macOS's fsync stops at the drive's cache.
            try:
                fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
                return
            except OSError:  # not offered by this file system
                pass
        os.fsync(file.fileno())

    def flush_folder(self, folder: Path) -> None:
        """Flush a folder's directory entries; see the function `flush_folder`."""
        flush_folder(folder)

    def rename(self, old: Path, new: Path) -> None:
        """Rename atomically within one file system; a file replaces the file `new`.

        Windows refuses it while a reader has either file open; this waits for at most `BLOCKED_SECONDS`.
        """
        deadline, pause = time.monotonic() + BLOCKED_SECONDS, 0.001
        while True:
            try:
                os.replace(old, new)
                return
            except PermissionError as error:
                if getattr(error, "winerror", None) not in BLOCKED or time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def remove_folder(self, folder: Path) -> None:
        """Remove an empty folder."""
        folder.rmdir()


DISK = Storage()


class Owned(Storage):
    """The disk, for a folder that another process may take over: every change to shared files checks `owner` first.

    Files whose name only this process knows are written and removed without the check.
    """

    def __init__(self, owner: Callable[[], object]) -> None:
        """`owner` is called before each change and raises LabError if the folder belongs to another process."""
        self._owner = owner

    def require_owner(self) -> None:
        """Raise LabError if another process owns the folder."""
        self._owner()

    def open(self, path: Path, mode: Literal["xb", "ab"] = "xb") -> FileIO:
        """Open a file; for appending, check the owner once it is open, right before it is changed."""
        file = super().open(path, mode)
        if mode == "ab":
            try:
                self.require_owner()
            except BaseException:
                file.close()
                raise
        return file

    def rename(self, old: Path, new: Path) -> None:
        """Check the owner, then rename."""
        self.require_owner()
        super().rename(old, new)


def flush_folder(folder: Path) -> None:
    """Flush `folder`'s directory entries to the disk. Windows has no such call: there renames are journalled."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
    finally:
        os.close(descriptor)


def remove_tree(folder: Path, storage: Storage = DISK) -> None:
    """Remove a folder and everything in it. Links, including `folder` itself, are removed; their targets stay."""
    if is_link(folder):
        storage.remove(folder)
        return
    for entry in sorted(folder.iterdir()):
        if stat.S_ISDIR(entry.lstat().st_mode) and not is_link(entry):
            remove_tree(entry, storage)
        else:
            storage.remove(entry)
    storage.remove_folder(folder)


def _open_no_link(path: str, flags: int) -> int:
    """Open a file without following a link at the path's end, if the system supports that; an `opener` for `open`."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def reason(error: Exception) -> str:
    """Return why the system refused, in the system's words."""
    wrapped = getattr(error, "reason", None)  # by urllib
    if isinstance(wrapped, OSError):
        return reason(wrapped)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def advice(error: OSError) -> str:
    """Return what can be done about a refused write, by its reason."""
    return ADVICE.get(error.errno or 0, "check the disk or choose another folder")


def writing_failed(path: Path, error: OSError) -> StorageError:
    """Return the one-line error for a write that the system refused."""
    return StorageError(f"{path} can't be written: {reason(error)}; {advice(error)}")
