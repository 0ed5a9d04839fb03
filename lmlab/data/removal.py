"""Removing prepared data sets: atomically, together with the views that depend on them."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Sequence
from pathlib import Path

from lmlab import LabError, StorageError
from lmlab.data.dataset import Dataset, list_datasets
from lmlab.files import DISK, Storage, is_link, reason, remove_tree

REMOVED = re.compile(r"\.removed-[0-9a-f]{32}")
"""Name of a data set's folder from its removal until its files are gone. Hidden folders are not data sets."""


def with_views(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Return the data sets without repetitions, each preceded by its views in the same folder, which depend on it."""
    found: dict[str, Dataset] = {}
    for one in datasets:
        beside = list_datasets(one.folder.parent.parent) if one.folder.parent.name == "datasets" else []
        views = [other for other in beside if other.id != one.id and other.whole.id == one.id]
        found.update({entry.id: entry for entry in (*views, one)})
    return list(found.values())


def occupied_bytes(dataset: Dataset) -> int:
    """Return the size of the files in the data set's folder."""
    return sum(path.lstat().st_size for path in dataset.folder.iterdir())


def remove_dataset(dataset: Dataset, storage: Storage = DISK) -> None:
    """Remove a data set; raises LabError for a link. It is renamed first, so that an interruption leaves the whole data set or
    none; `remove_leftovers` removes the rest of its files.
    """
    folder = dataset.folder
    if is_link(folder):
        raise LabError(f"{folder} is a link: remove the link itself, or give the folder that it leads to")
    away = folder.with_name(f".removed-{uuid.uuid4().hex}")
    try:
        storage.rename(folder, away)
        storage.flush_folder(away.parent)
    except OSError as error:
        raise StorageError(f"{folder} can't be removed: {reason(error)}; stop what uses it, and try again") from None
    try:
        remove_tree(away, storage)
    except OSError as error:
        raise StorageError(
            f"the data set {dataset.id} is gone, but not all files of {away}: {reason(error)}; the next lmlab data rm tries again"
        ) from None


def remove_leftovers(folder: Path, storage: Storage = DISK) -> None:
    """Remove what interrupted removals left in the data sets' folder; what the system refuses to remove stays."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if REMOVED.fullmatch(entry.name):
            with contextlib.suppress(OSError):
                remove_tree(entry, storage)
