"""One process at work on a run: an operating-system lock on the file `lock`, which dies with its owner.

The file says who holds it, for the message that a second process gets; what it says counts only while it is locked.
"""

from __future__ import annotations

import json
import os
import socket
import time
import weakref
from io import FileIO
from pathlib import Path
from types import TracebackType

from lmlab import LabError
from lmlab.files import parse_json, reason, try_lock
from lmlab.runs.lines import FORMAT, now
from lmlab.runs.links import refuse_links

NAME = "lock"
PATIENCE_SECONDS = 0.5
"""Someone who only asks whether the run is locked holds it for an instant: that is waited for."""
PAUSE_SECONDS = 0.02
LONGEST_NOTE = 4096

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


class RunLock:
    """`with RunLock(run.folder): ...`; LabError with the holder's process and host where another has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: FileIO | None = None

    def acquire(self) -> None:
        """Take the lock, or raise LabError."""
        refuse_links(self.folder)
        path = self.folder / NAME
        try:
            file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644), "r+")
        except OSError as error:
            raise LabError(f"{path} can't be opened: {reason(error)}") from None
        try:
            if not _locked_in_time(file):
                raise LabError(f"run {self.folder.name} is in use by {_holder(file)}: wait for it, or stop it first")
            _sign(file)
        except OSError as error:
            file.close()
            raise LabError(f"{path} can't be locked: {reason(error)}; put the run on a disk that has locks") from None
        except BaseException:
            file.close()
            raise
        self._file = file
        _held.add(self)

    def release(self) -> None:
        """Give it back."""
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


def is_locked(folder: Path) -> bool:
    """Whether a process is at work on the run now."""
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


def _sign(file: FileIO) -> None:
    note = {"format": FORMAT, "pid": os.getpid(), "host": socket.gethostname(), "time": now()}
    file.seek(0)
    file.truncate()
    file.write(json.dumps(note).encode() + b"\n")


def _holder(file: FileIO) -> str:
    try:
        file.seek(0)
        note = parse_json(file.read(LONGEST_NOTE))
        return f"process {int(note['pid'])} on {str(note['host'])[:100]} since {str(note['time'])[:40]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _let_go_in_child() -> None:
    """A fork inherits the open file, and with it the lock: a child that outlives its parent must not keep it."""
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
