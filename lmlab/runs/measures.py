"""measures/step-00000250.json: figures of the texts that the checkpoint of that step wrote, and the texts themselves.

A later measurement of the same step replaces it. docs/formats.md has the keys.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import DISK, Storage, is_link, make_folder, read_json, write_json

FOLDER = "measures"
FORMAT = 1
FILE = re.compile(r"step-(\d{8,12})\.json")
LARGEST_BYTES = 16 << 20


def write_measures(folder: Path, step: int, value: dict[str, Any], storage: Storage = DISK) -> None:
    """Write a measurement into the folder of a run. LabError if `measures` in it is a link; StorageError if the disk refuses."""
    place = folder / FOLDER
    if is_link(place):
        raise LabError(f"{place} is a link: expected the run's own folder; put what it points to in its place")
    make_folder(place)
    write_json(place / f"step-{step:08d}.json", {"format": FORMAT, "step": step, **value}, storage)


def list_measures(folder: Path) -> list[int]:
    """Return the steps of the run in `folder` that have a measurement, sorted; [] if none has."""
    place = folder / FOLDER
    found = (FILE.fullmatch(entry.name) for entry in place.iterdir()) if place.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)


def read_measures(folder: Path, step: int) -> dict[str, Any]:
    """Return a measurement of the run in `folder`; LabError if it is missing, damaged or of another format."""
    again = f"lmlab sample {folder.name}@{step} --measure"
    if step not in list_measures(folder):
        raise LabError(f"{folder.name} has no measures at step {step:,}: {again}")
    path = folder / FOLDER / f"step-{step:08d}.json"
    value = read_json(path, LARGEST_BYTES)
    if not isinstance(value, dict):
        raise LabError(f"{path} is damaged: expected a JSON object; {again} writes it again")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    if value.get("step") != step or not _figures(value.get("figures")) or not _figures(value.get("real") or {}):
        raise LabError(
            f"{path} is damaged: expected figures of step {step} as [estimate, low, high]; {again} writes it again"
        )
    value.setdefault("real", None)
    if not isinstance(value.get("asked"), dict):
        raise LabError(f"{path} is damaged: expected what was asked; {again} writes it again")
    return value


def all_measures(folder: Path) -> list[dict[str, Any]]:
    """Return every measurement of the run in `folder`, by step and without its texts; LabError if one is damaged."""
    every = [read_measures(folder, step) for step in list_measures(folder)]
    return [{name: value for name, value in one.items() if name != "passages"} for one in every]


def _figures(value: Any) -> bool:
    """Return whether a value maps names to three numbers each, or None."""
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(limits, list)
        and len(limits) == 3
        and all(one is None or (type(one) in (int, float) and math.isfinite(one)) for one in limits)
        for name, limits in value.items()
    )
