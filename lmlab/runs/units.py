"""units-valid.npy: the bits of each unit of the validation split at each evaluation, for comparing runs.

One structured numpy array, a row a unit:

    key V32 (SHA-256 of the unit's text)   bytes i8   tokens i8   bits f8[evaluations], NaN where a unit was not scored

numpy can read it: np.load("units-valid.npy"). Each evaluation replaces it atomically, so it's never partially written.
The first token of the split counts among its unit's tokens, but nothing predicts it.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from lmlab import LabError
from lmlab.files import DISK, Storage, write_bytes, writing_failed
from lmlab.files.arrays import kind_text, map_rows, read_rows_header

NAME = "units-valid.npy"
FIELDS = (("key", "V32"), ("bytes", "<i8"), ("tokens", "<i8"))
EVALUATIONS = re.compile(r"\('bits', '<f8', \(([0-9]{1,6}),\)\)", re.ASCII)
"""The number of evaluations in a header: below a million."""


def unit_type(evaluations: int) -> np.dtype:
    """Return the row dtype of a file with `evaluations` evaluations."""
    return np.dtype([*FIELDS, ("bits", "<f8", (evaluations,))])


def start_units(path: Path, key: np.ndarray, size: np.ndarray, tokens: np.ndarray, storage: Storage = DISK) -> None:
    """Write the units of a split (V32, int64 and int64 [units]) without any evaluation yet."""
    units = np.empty(len(key), unit_type(0))
    units["key"], units["bytes"], units["tokens"] = key, size, tokens
    _write(path, units, storage)


def append_evaluation(path: Path, evaluation: int, bits: np.ndarray, storage: Storage = DISK) -> None:
    """Put `bits` (float64 [units]) at evaluation number `evaluation`, counted from 0.

    Values there or after are dropped, and missing ones before it are NaN; the operation is idempotent.
    """
    units = read_units(path)
    if np.shape(bits) != (len(units),):
        raise ValueError(f"{path} has {len(units)} units, got bits of shape {np.shape(bits)}")
    kept = min(evaluation, units["bits"].shape[1])
    longer = _with_evaluations(units, evaluation + 1, kept)
    longer["bits"][:, evaluation] = bits
    _write(path, longer, storage)


def truncate_units(path: Path, evaluations: int, storage: Storage = DISK) -> None:
    """Drop all but the first `evaluations`; nothing is written if there are no more than that."""
    units = read_units(path)
    if units["bits"].shape[1] > evaluations:
        _write(path, _with_evaluations(units, evaluations, evaluations), storage)


def put_aside(path: Path, storage: Storage = DISK) -> str | None:
    """Rename a damaged file of units to NAME.damaged, replacing an earlier one; None if there is no file."""
    if not path.exists():
        return None
    away = path.with_name(f"{path.name}.damaged")
    try:
        storage.rename(path, away)
    except OSError as error:
        raise writing_failed(path, error) from None
    return away.name


def read_units(path: Path) -> np.ndarray:
    """Return the array; raises LabError if it's missing, damaged, or not a file of units. Never unpickles anything."""
    header = read_rows_header(path)
    evaluations = EVALUATIONS.search(header.kind)
    kind = unit_type(int(evaluations[1]) if evaluations else 0)
    if header.kind != kind_text(kind):
        raise LabError(f"{path} contains no units: expected rows of key, bytes, tokens and bits")
    if not header.holds(kind):
        raise LabError(f"{path} is damaged: its size is not that of {header.rows:,} units; put it back from a copy")
    return np.array(map_rows(path, header, kind))


def _with_evaluations(units: np.ndarray, evaluations: int, kept: int) -> np.ndarray:
    made = np.empty(len(units), unit_type(evaluations))
    for name, _ in FIELDS:
        made[name] = units[name]
    made["bits"] = np.nan
    made["bits"][:, :kept] = units["bits"][:, :kept]
    return made


def _write(path: Path, units: np.ndarray, storage: Storage) -> None:
    content = io.BytesIO()
    np.save(content, units, allow_pickle=False)
    write_bytes(path, content.getvalue(), storage)
