"""Where checkpoints lie in a run's `checkpoints/` folder, and which steps there are.

    step-00000250/                the checkpoint of step 250, complete
    .step-00000250.tmp-9f86d081884c7d65/    one that is being written, or thrown away
    .step-00000250.old/           an earlier one of step 250, until the new one is proven
    latest.json, best.json        pointers

Names with a dot in front are none that a reader needs, but for `.old` where a crash kept the new one from its place.
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
"""Earlier versions had the process's number in it."""
LARGEST_STEP = 10**12 - 1


def folder_of(checkpoints: Path, step: int) -> Path:
    """The folder of a step's checkpoint."""
    return checkpoints / f"step-{step:08d}"


def unfinished_folder(checkpoints: Path, step: int) -> Path:
    """A new place to write the checkpoint of a step, or to throw one away; no other process has the same."""
    return checkpoints / f".step-{step:08d}.tmp-{secrets.token_hex(8)}"


def replaced_folder(checkpoints: Path, step: int) -> Path:
    """Where the earlier checkpoint of the same step waits until the new one is proven."""
    return checkpoints / f".step-{step:08d}.old"


def steps(checkpoints: Path) -> list[int]:
    """The steps that have a checkpoint, ascending; nothing is said of their being intact. A link is none."""
    if not checkpoints.is_dir():
        return []
    found = (
        COMPLETE.fullmatch(entry.name) or REPLACED.fullmatch(entry.name)
        for entry in checkpoints.iterdir()
        if not is_link(entry)
    )
    return sorted({int(match[1]) for match in found if match})


def folders_of(checkpoints: Path, step: int) -> list[Path]:
    """Where the checkpoint of a step may be: its folder, and the replaced one that a crash may have left."""
    candidates = (folder_of(checkpoints, step), replaced_folder(checkpoints, step))
    return [folder for folder in candidates if folder.is_dir() and not is_link(folder)]
