"""A data set is made in a hidden work folder that is renamed at the very end: what preparing and extending share.

A work folder's name ends with its plan, a hash of all that is asked for; whoever holds the plan's lock works in it, and
takes over what a killed process has left there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError
from lmlab.data.dataset import Dataset, datasets_folder, open_dataset
from lmlab.data.finish import tidy
from lmlab.files import DISK, file_system_time, remove_tree, try_lock

STALE_SECONDS = 7 * 24 * 3600
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
DISK_ERRORS = (*FULL, errno.EFBIG, errno.EIO, errno.EROFS, *([errno.ESTALE] if hasattr(errno, "ESTALE") else []))
"""What the system says of a disk; the rest, such as a file that isn't there, is about what was asked for."""


@contextlib.contextmanager
def system_errors_in_one_line() -> Iterator[None]:
    """What the system refuses inside becomes a LabError, a StorageError where the disk is the cause."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageError(
                "the disk is full: free some space and start again, it goes on from where it was"
            ) from None
        where = f"{error.filename}: " if error.filename else ""
        kind = StorageError if error.errno in DISK_ERRORS else LabError
        raise kind(f"{where}{error.strerror or error}") from None


def digest(value: Any) -> str:
    """Return SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def lock_path(plan: str, root: Path) -> Path:
    """Return the lock of whoever carries out a plan."""
    return root / "locks" / f"{plan}.lock"


def work_folder(plan: str, root: Path) -> Path:
    """Return where a plan is carried out."""
    return datasets_folder(root) / f".building-{plan}"


def made_already(identity: str, root: Path) -> Dataset | None:
    """Return the data set of that id, perhaps made from the same text under another name."""
    for folder in sorted(datasets_folder(root).glob(f"*-{identity}")):
        with contextlib.suppress(LabError):
            return open_dataset(folder)
    return None


def publish(work: Path, name: str, root: Path) -> Dataset:
    """Return the complete data set in `work`, from now on in the folder `name`."""
    final = datasets_folder(root) / name
    tidy(work)
    if os.path.lexists(final):  # only ever a damaged one: an intact one is found before
        remove_tree(final)
    DISK.rename(work, final)
    for folder in (final.parent, root):  # the list of data sets may be new as well
        DISK.flush_folder(folder)
    return open_dataset(final)


def remove_stale(root: Path) -> None:
    """Work folders that nobody has touched for a week: the corpus changed since, so they are never finished."""
    found = list(datasets_folder(root).glob(".building-*"))
    with contextlib.suppress(OSError):  # of a data set that is made already nothing fails any more
        old = file_system_time(datasets_folder(root)) - STALE_SECONDS if found else 0.0
        for work in found:
            lock = lock_path(work.name.removeprefix(".building-"), root)
            with contextlib.suppress(OSError):
                if work.lstat().st_mtime < old:
                    with open(lock, "ab") as file:
                        if try_lock(file):
                            remove_tree(work)
