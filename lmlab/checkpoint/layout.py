"""The layout of a run's `checkpoints/` folder, and the steps in it.

    step-00000250/                the checkpoint of step 250, complete
    .step-00000250.tmp-9f86d081884c7d65/    one that is being written or removed
    .step-00000250.old/           an earlier one of step 250, until the new one is verified
    latest.json, best.json        pointers

Readers ignore names with a leading dot, except `.old` if a crash prevented the new one from taking its place.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from lmlab.files import is_link

MANIFEST = "manifest.json"
STATE = "state.json"
SUFFIX = ".safetensors"

COMPLETE = re.compile(r"step-(\d{8,12})")
REPLACED = re.compile(r"\.step-(\d{8,12})\.old")
UNFINISHED = re.compile(r"\.step-\d{8,12}\.tmp-[0-9a-f]{1,16}")
"""Earlier versions had the process id in it."""
LARGEST_STEP = 10**12 - 1


def folder_of(checkpoints: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return checkpoints / f"step-{step:08d}"


def unfinished_folder(checkpoints: Path, step: int) -> Path:
    """Return a new, unique path to write the checkpoint of a step to, or to move one to for removal."""
    return checkpoints / f".step-{step:08d}.tmp-{secrets.token_hex(8)}"


def replaced_folder(checkpoints: Path, step: int) -> Path:
    """Return where the earlier checkpoint of the same step is kept until the new one is verified."""
    return checkpoints / f".step-{step:08d}.old"


def steps(checkpoints: Path) -> list[int]:
    """Return the steps that have a checkpoint, ascending, whether or not it is intact. Links are ignored."""
    if not checkpoints.is_dir():
        return []
    found = (
        COMPLETE.fullmatch(entry.name) or REPLACED.fullmatch(entry.name)
        for entry in checkpoints.iterdir()
        if not is_link(entry)
    )
    return sorted({int(match[1]) for match in found if match})


def folders_of(checkpoints: Path, step: int) -> list[Path]:
    """Return where the checkpoint of a step may be: its folder, and the replaced one that a crash may have left."""
    candidates = (folder_of(checkpoints, step), replaced_folder(checkpoints, step))
    return [folder for folder in candidates if folder.is_dir() and not is_link(folder)]
