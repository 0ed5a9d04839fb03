"""One process per run: an operating-system lock on the file `lock`, which is released when its owner ends.

The file names its owner, for the error that a second process gets, and contains a random token of the owner. Some file systems
keep locks local to a machine (NFS without its lock service, a folder shared by a container and its host): there a second process
gets the lock too. So the owner reads the token again before each change (`require`): if it changed, the run belongs to the other
process, and this one stops without changing it.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
import weakref
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from lmlab import LabError, StorageError
from lmlab.files import DISK, Owned, Storage, advice, parse_json, reason, try_lock, writing_failed
from lmlab.runs.lines import FORMAT, folder_gone, now
from lmlab.runs.links import refuse_links

NAME = "lock"
PATIENCE_SECONDS = 0.5
"""A process that only tests the lock holds it for an instant; this long is waited for that."""
PAUSE_SECONDS = 0.02
LONGEST_NOTE = 4096

TOKEN_BYTES = 16

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


class TakenOver(StorageError):
    """Another process has taken over the run: everything written from now on is that process's."""


class RunLock:
    """Context manager that locks a run: `with RunLock(run.folder): ...`; raises LabError with the holder's process and host if
    another has it.
    """

    def __init__(self, folder: Path, sign: bool = True) -> None:
        """With `sign` False the file doesn't name this process until `sign()` is called; nothing in the run may be changed
        before.
        """
        self.folder = folder
        self._signs = sign
        self._file: FileIO | None = None
        self._token = ""

    def acquire(self) -> None:
        """Take the lock, or raise LabError."""
        refuse_links(self.folder)
        path = self.folder / NAME
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
            file = FileIO(os.open(path, flags, 0o644), "r+")
        except OSError as error:
            raise LabError(f"{path} can't be opened: {reason(error)}; {advice(error)}") from None
        try:
            if not _locked_in_time(file):
                raise in_use(self.folder, _note(file))
            if self._signs:
                self._token = _sign(file)
        except OSError as error:
            file.close()
            raise LabError(f"{path} can't be locked: {reason(error)}; put the run on a disk that has locks") from None
        except BaseException:
            file.close()
            raise
        self._file = file
        _held.add(self)

    def sign(self) -> None:
        """Write this process's name into the lock file; an earlier owner that still works stops at its next `require`."""
        assert self._file is not None
        try:
            self._token = _sign(self._file)
        except OSError as error:
            raise writing_failed(self.folder / NAME, error) from None

    @property
    def storage(self) -> Storage:
        """The storage to write the run through while this lock is held: it calls `require` before each change."""
        return Owned(self.require)

    def require(self) -> None:
        """Raise TakenOver if another process owns the run by now; called before each change to its files."""
        path = self.folder / NAME
        try:
            note = _wait_for_note(path)
        except OSError as error:
            if not self.folder.is_dir():
                raise folder_gone(self.folder) from None
            raise StorageError(
                f"{path} can't be read: {reason(error)}; put it back in its place, then resume"
            ) from None
        if note.get("token") != self._token:
            raise TakenOver(
                f"run {self.folder.name} was taken over by {_holder(note)}: this process stops, and what it had not saved "
                "is lost to it; where two machines share runs, use a file system whose locks both see"
            )

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def require_unlocked(folder: Path) -> None:
    """Raise LabError, as from `RunLock`, if a process works on the run; nothing is created or changed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while is_locked(folder):
        if time.monotonic() > deadline:
            with FileIO(folder / NAME) as file:
                raise in_use(folder, _note(file))
        time.sleep(PAUSE_SECONDS)


def is_locked(folder: Path) -> bool:
    """Return whether a process works on the run now."""
    if not (folder / NAME).is_file():
        return False
    try:
        with open(folder / NAME, "rb") as file:
            return not try_lock(file, shared=True)
    except OSError:  # no lock file, or no locks on this disk
        return False


def _locked_in_time(file: FileIO) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not try_lock(file):
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def in_use(folder: Path, note: dict[str, Any]) -> LabError:
    """Return the error for a second process."""
    return LabError(f"run {folder.name} is in use by {_holder(note)}: wait for it, or stop it first")


def _sign(file: FileIO) -> str:
    """Write the owner into the lock file and return its new token. The file is on the disk, and so on a server, when this
    returns.
    """
    token = secrets.token_hex(TOKEN_BYTES)
    note = {"format": FORMAT, "pid": os.getpid(), "host": socket.gethostname(), "time": now(), "token": token}
    file.seek(0)
    file.truncate()
    file.write(json.dumps(note).encode() + b"\n")
    DISK.flush(file)
    return token


def _wait_for_note(path: Path) -> dict[str, Any]:
    """Return the content of the lock file, after waiting for one that is just being written.

    The file is opened anew each time, since a network file system contacts its server only then.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with FileIO(path) as file:
            note = _note(file)
        if note or time.monotonic() > deadline:
            return note
        time.sleep(PAUSE_SECONDS)


def _note(file: FileIO) -> dict[str, Any]:
    """Return the content of the lock file; {} if it is damaged, or being written."""
    try:
        file.seek(0)
        note = parse_json(file.read(LONGEST_NOTE))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _holder(note: dict[str, Any]) -> str:
    try:
        return f"process {int(note['pid'])} on {str(note['host'])[:100]} since {str(note['time'])[:40]}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _release_in_child() -> None:
    """Close the locks in a forked child, which inherits the open files and would keep them if it outlived its parent."""
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
