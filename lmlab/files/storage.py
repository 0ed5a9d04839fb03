"""The disk's operations that durable writing is made of, behind one object, so that tests can make each of them fail.

Whatever must survive a crash goes through a `Storage`: the checkpoint's protocol, pointers, the cutting of journals.
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
"""By the reason for which a write was refused: what can be done."""
NOT_OFFERED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What some network and user-space file systems answer when a folder is to be flushed."""
BLOCKED = (5, 32)
"""Windows's errors (access denied, sharing violation) where another process, such as a virus scanner, has the file open."""
BLOCKED_SECONDS = 2.0
"""So long a rename waits for a reader to close the file."""
LONGEST_PAUSE_SECONDS = 0.1


class Storage:
    """The operations themselves. Each one raises OSError where the system refuses it."""

    def require_owner(self) -> None:
        """Raise where what is written here is another process's by now; a plain disk asks nobody."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder that must not be there yet."""
        folder.mkdir()

    def open(self, path: Path, mode: Literal["xb", "ab"] = "xb") -> FileIO:
        """Open a file for writing, a new one ("xb") or at its end ("ab"), without a buffer of our own.

        A link in its place is refused, and with "xb" everything else: nobody can have planted there what we would overwrite.
        """
        return FileIO(path, mode, opener=_open_no_link)

    def write(self, file: FileIO, content: bytes | memoryview) -> None:
        """Write all of `content`; the system may take it in several parts."""
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) or 0 :]

    def truncate(self, file: FileIO, length: int) -> None:
        """Cut a file off after `length` bytes."""
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
        """`flush_folder`."""
        flush_folder(folder)

    def rename(self, old: Path, new: Path) -> None:
        """Rename inside one file system, in one step; a file replaces the file `new`.

        Windows refuses it while a reader has either open: that is waited for, `BLOCKED_SECONDS` at most.
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
    """The disk, of a folder that another process may take over: whatever changes what that one has too asks `owner` first.

    What has a name that only this process knows is written without asking, and removed too.
    """

    def __init__(self, owner: Callable[[], object]) -> None:
        """`owner` raises LabError where the folder is another process's."""
        self._owner = owner

    def require_owner(self) -> None:
        """Ask."""
        self._owner()

    def open(self, path: Path, mode: Literal["xb", "ab"] = "xb") -> FileIO:
        """Ask before a file that may be there is appended to or cut: once it is open, right before that is done."""
        file = super().open(path, mode)
        if mode == "ab":
            try:
                self.require_owner()
            except BaseException:
                file.close()
                raise
        return file

    def rename(self, old: Path, new: Path) -> None:
        """Ask, then rename."""
        self.require_owner()
        super().rename(old, new)


def flush_folder(folder: Path) -> None:
    """Ask the disk to keep `folder`'s list of names. Windows has no such call: there the rename is journalled."""
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
    """Remove a folder and all that's in it; links, `folder` itself among them, are removed, and what they point to stays."""
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
    """An `opener` that follows no link at the path's end, where the system can be told so."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def reason(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return error.strerror or str(error) or type(error).__name__


def advice(error: OSError) -> str:
    """What can be done where the system refused to write, by its reason."""
    return ADVICE.get(error.errno or 0, "check the disk or choose another folder")


def writing_failed(path: Path, error: OSError) -> StorageError:
    """The one line for a write that the system refused."""
    return StorageError(f"{path} can't be written: {reason(error)}; {advice(error)}")
