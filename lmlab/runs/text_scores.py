"""texts/TEXT-SPLIT-step-00000250.npy: a checkpoint's bits by unit on a text that isn't its own, and beside it a .json.

TEXT is the id of the data set that the text became with the model's tokenizer. The rows are those of units-valid.npy with one
evaluation; the JSON says what was scored and has the figures. A later score of the same text and step replaces both.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.files import DISK, Storage, is_link, make_folder, read_json, sha256_of_file, write_bytes, write_json
from lmlab.files.arrays import map_rows, read_rows_header
from lmlab.runs.units import unit_type

FOLDER = "texts"
FORMAT = 1
FILE = re.compile(r"[0-9a-f]{8,64}-(train|valid|test|all)-step-\d{8,12}\.json")
LARGEST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class TextScore:
    """A stored score."""

    value: dict[str, Any]
    """The JSON: docs/formats.md has its keys."""
    units: np.ndarray
    """unit_type(1) [units]."""


def write_text_score(
    folder: Path, text: str, split: str, step: int, value: dict[str, Any], units: np.ndarray, storage: Storage = DISK
) -> None:
    """Write a score into the folder of a run; `units` is unit_type(1) [units]. LabError if `texts` in it is a link."""
    place = folder / FOLDER
    if is_link(place):
        raise LabError(f"{place} is a link: expected the run's own folder; put what it points to in its place")
    make_folder(place)
    content = io.BytesIO()
    np.save(content, units.astype(unit_type(1)), allow_pickle=False)
    name = f"{text}-{split}-step-{step:08d}"
    write_bytes(place / f"{name}.npy", content.getvalue(), storage)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    facts = {"format": FORMAT, "text": text, "split": split, "step": step, "units_sha256": digest}
    write_json(place / f"{name}.json", {**facts, **value}, storage)


def read_text_score(folder: Path, text: str, split: str, step: int) -> TextScore:
    """Return the score of the run in `folder`; LabError if it is missing, damaged or of another format."""
    path = folder / FOLDER / f"{text}-{split}-step-{step:08d}.json"
    if FILE.fullmatch(path.name) is None or not path.is_file():
        raise LabError(f"{folder.name} has no score of text {text} ({split}) at step {step:,}")
    value = read_json(path, LARGEST_BYTES)
    facts = {"format": FORMAT, "text": text, "split": split, "step": step}
    if not isinstance(value, dict) or any(value.get(name) != expected for name, expected in facts.items()):
        raise LabError(f"{path} is damaged, or of another version: expected format {FORMAT} of this text and step")
    rows = path.with_suffix(".npy")
    header = read_rows_header(rows)
    if not header.holds(unit_type(1)) or sha256_of_file(rows) != value.get("units_sha256"):
        raise LabError(f"{rows} is damaged, or isn't the one of {path.name}")
    return TextScore(value=value, units=np.array(map_rows(rows, header, unit_type(1))))
