"""Renaming and removing runs: atomically, and never while a process works on them."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from lmlab import LabError, StorageError
from lmlab.files import DISK, Storage, advice, reason, remove_dead, remove_tree
from lmlab.runs.create import DRAFT
from lmlab.runs.lock import RunLock
from lmlab.runs.names import check_name
from lmlab.runs.run import Run

REMOVED = re.compile(r"\.removed-[0-9a-f]{32}")
"""Name of a run's folder from its removal until its files are gone. Hidden folders are not runs."""


def rename_run(run: Run, name: str, storage: Storage = DISK) -> Run:
    """Rename a run within its folder; raises LabError if the name is taken or a process works on the run."""
    new = run.folder.with_name(check_name(name))
    if os.path.lexists(new):
        raise LabError(f"there is a {name} already in {run.folder.parent}: choose another name")
    _move(run, new, "renamed", storage)
    return Run(new)


def _move(run: Run, to: Path, what: str, storage: Storage) -> None:
    with _held(run):
        try:
            storage.rename(run.folder, to)
            storage.flush_folder(to.parent)
        except OSError as error:
            raise StorageError(f"{run.folder} can't be {what}: {reason(error)}; {advice(error)}") from None


def remove_run(run: Run, storage: Storage = DISK) -> None:
    """Remove a run; raises LabError if a process works on it. If it is a link to a run, only the link is removed.

    It's renamed first, so that an interruption leaves the whole run or none; `remove_leftovers` then removes
    what is left of its files.
    """
    away = run.folder.with_name(f".removed-{uuid.uuid4().hex}")
    _move(run, away, "removed", storage)
    try:
        remove_tree(away, storage)
    except OSError as error:
        raise StorageError(
            f"the run {run.folder.name} is gone, but not all files of {away}: {reason(error)}; the next rm tries again"
        ) from None


def remove_leftovers(root: Path, storage: Storage = DISK) -> int:
    """Remove what interrupted removals left in `root`, and old drafts of dead processes; return the number of removals completed.

    What the system refuses to remove stays.
    """
    remove_dead(root, DRAFT)
    found = [entry for entry in root.iterdir() if REMOVED.fullmatch(entry.name)] if root.is_dir() else []
    done = 0
    for entry in found:
        with contextlib.suppress(OSError):
            remove_tree(entry, storage)
            done += 1
    return done


@contextlib.contextmanager
def _held(run: Run) -> Iterator[None]:
    """Hold the run's lock, if the system can rename a folder that contains an open file; else only check that it is free."""
    with RunLock(run.folder) as lock:
        if os.name == "nt":
            lock.release()
        yield
