"""Building a data set in a hidden work folder that is renamed at the end; shared by preparing and extending.

A work folder's name ends with its plan, a hash of all settings. The process that holds the plan's lock works in it, and continues
what a killed process has left there.
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
"""errno values that concern the disk; others, such as a missing file, concern the request."""


@contextlib.contextmanager
def system_errors_in_one_line() -> Iterator[None]:
    """Convert an OSError inside the context to a LabError, or to a StorageError if the disk is the cause."""
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
    """Return the SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def lock_path(plan: str, root: Path) -> Path:
    """Return the path of the lock for building a plan."""
    return root / "locks" / f"{plan}.lock"


def work_folder(plan: str, root: Path) -> Path:
    """Return the folder in which a plan is built."""
    return datasets_folder(root) / f".building-{plan}"


def made_already(identity: str, root: Path) -> Dataset | None:
    """Return the existing data set of that id, perhaps made from the same text under another name; None if there is none."""
    for folder in sorted(datasets_folder(root).glob(f"*-{identity}")):
        with contextlib.suppress(LabError):
            return open_dataset(folder)
    return None


def publish(work: Path, name: str, root: Path) -> Dataset:
    """Rename the complete data set in `work` to its folder `name`, and return it."""
    final = datasets_folder(root) / name
    tidy(work)
    if os.path.lexists(final):  # a damaged one, since an intact one would have been found before
        remove_tree(final)
    DISK.rename(work, final)
    for folder in (final.parent, root):  # the datasets folder may be new as well
        DISK.flush_folder(folder)
    return open_dataset(final)


def remove_stale(root: Path) -> None:
    """Remove work folders unchanged for a week: their corpus has changed since, so they are never finished."""
    found = list(datasets_folder(root).glob(".building-*"))
    with contextlib.suppress(OSError):  # cleaning up must not fail a finished data set
        old = file_system_time(datasets_folder(root)) - STALE_SECONDS if found else 0.0
        for work in found:
            lock = lock_path(work.name.removeprefix(".building-"), root)
            with contextlib.suppress(OSError):
                if work.lstat().st_mtime < old:
                    with open(lock, "ab") as file:
                        if try_lock(file):
                            remove_tree(work)
