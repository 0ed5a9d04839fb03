"""The check of a data set: computed once, and stored beside its manifest as `check.json` (docs/formats.md).

A data set with a given id never changes, so neither does its check; a file of another format, or a damaged one, is replaced.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lmlab import LabError, __version__
from lmlab.data.dataset import Dataset
from lmlab.data.hygiene.near import THRESHOLD
from lmlab.data.hygiene.overlap import CONTAINED_SHARE, KINDS, compare
from lmlab.data.hygiene.shingles import WORDS
from lmlab.data.hygiene.text import look_at_text
from lmlab.data.progress import Progress, shown
from lmlab.files import cache_folder, make_folder, read_json, write_shared

FORMAT = 1
NAME = "check.json"
LARGEST_BYTES = 256_000_000
QUICK_BYTES = 32_000_000
"""Up to this much text a check takes some seconds, so it is made without confirmation."""


def checked(dataset: Dataset, progress: Progress | None = None) -> dict[str, Any]:
    """Return the check of a data set as plain values: the stored one, or a new one, which is then stored.

    If the folder can't be written, the check is returned without being stored.
    """
    value = kept(dataset)
    if value is None:
        with shown(progress) as progress:
            value = _made(dataset, progress)
            try:
                write_shared(dataset.folder / NAME, value)
            except LabError as error:
                progress.say(f"the check is not kept: {error}")
    return value


def kept(dataset: Dataset) -> dict[str, Any] | None:
    """Return the stored check; None if there is none that is valid."""
    try:
        value = read_json(dataset.folder / NAME, LARGEST_BYTES)
    except LabError:
        return None
    if not isinstance(value, dict) or (value.get("format"), value.get("id")) != (FORMAT, dataset.id):
        return None
    return value if all(duplicate_units(value, dataset, split) is not None for split in dataset.splits[1:]) else None


def is_quick(dataset: Dataset) -> bool:
    """Return whether a check takes only some seconds."""
    return sum(int(dataset.units(split)["bytes"].sum()) for split in dataset.splits) <= QUICK_BYTES


def duplicate_units(value: dict[str, Any], dataset: Dataset, split: str) -> np.ndarray | None:
    """Return bool [units]: which units of an evaluated split are duplicates of training text, according to a check; None if the
    check is damaged or of another split.
    """
    count = len(dataset.units(split))
    found = np.zeros(count, bool)
    entry = value.get("units", {}).get(split) if isinstance(value.get("units"), dict) else None
    if not isinstance(entry, dict) or entry.get("count") != count:
        return None
    for kind in KINDS:
        numbers = entry.get(kind)
        if not isinstance(numbers, list) or not all(type(number) is int and 0 <= number < count for number in numbers):
            return None
        found[numbers] = True
    return found


def _made(dataset: Dataset, progress: Progress) -> dict[str, Any]:
    began = time.perf_counter()
    text = {split: look_at_text(dataset, split, progress) for split in dataset.splits}
    folder = make_folder(cache_folder())
    duplicates = compare(dataset, progress, folder)
    return {
        "format": FORMAT,
        "id": dataset.id,
        "name": dataset.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "lmlab": __version__,
        "seconds": time.perf_counter() - began,
        "shingle_words": WORDS,
        "near_similarity": THRESHOLD,
        "contained_share": CONTAINED_SHARE,
        **duplicates,
        "text": text,
    }
