"""black-boxes/step-00000123.json: diagnostics of the step that led to state 123, if it was a spike or not finite."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import DISK, Storage, make_folder, read_json, write_json

FOLDER = "black-boxes"
FORMAT = 1
NAME = re.compile(r"step-(\d{8,12})\.json")
LARGEST_BYTES = 64 << 20


def write_black_box(folder: Path, step: int, value: dict[str, Any], storage: Storage = DISK) -> str:
    """Write the black box of a step into a run's folder and return its relative path. Raises LabError if the disk refuses."""
    name = f"step-{step:08d}.json"
    make_folder(folder / FOLDER)
    write_json(folder / FOLDER / name, {"format": FORMAT, "step": step, **value}, storage)
    return f"{FOLDER}/{name}"


def black_box_steps(folder: Path) -> list[int]:
    """Return the steps that have a black box, ascending."""
    place = folder / FOLDER
    found = (NAME.fullmatch(entry.name) for entry in place.iterdir()) if place.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)


def read_black_box(folder: Path, step: int) -> dict[str, Any]:
    """Return the black box of a step; raises LabError if it is missing or damaged."""
    if step not in black_box_steps(folder):
        there = ", ".join(map(str, black_box_steps(folder))) or "none"
        raise LabError(f"{folder.name} has no black box of step {step}: it has {there}")
    path = folder / FOLDER / f"step-{step:08d}.json"
    value = read_json(path, LARGEST_BYTES)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise LabError(f"{path} is damaged, or of a format that this version doesn't read: expected format {FORMAT}")
    return value
