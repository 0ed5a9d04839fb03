"""latest.json and best.json: small files that name a step.

    {"format": 1, "step": 250, "manifest_sha256": "...", "loss": 1.4697}

They are plain files because links don't survive every file system, archive and copy.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.layout import LARGEST_STEP, MANIFEST, folders_of
from lmlab.files import DISK, Storage, read_json, sha256_of_file, write_json

FORMAT = 1
LARGEST_BYTES = 1 << 20
LATEST = "latest"
BEST = "best"
NAME = re.compile(r"[a-z]{1,40}")


def pointer_file(checkpoints: Path, name: str) -> Path:
    """The file of a pointer."""
    if not NAME.fullmatch(name):
        raise LabError(f"a pointer can't be called {name[:40]!r}: expected {LATEST} or {BEST}")
    return checkpoints / f"{name}.json"


def point(checkpoints: Path, name: str, step: int, storage: Storage = DISK, **facts: Any) -> None:
    """Make `name` (latest, best) point to the checkpoint of `step`, with facts to remember (a best one's loss)."""
    path = pointer_file(checkpoints, name)
    folders = folders_of(checkpoints, step)
    if not folders:
        raise LabError(f"{path.name} can't point to step {step}: {checkpoints} has no checkpoint of it")
    value = {"format": FORMAT, "step": step, "manifest_sha256": sha256_of_file(folders[0] / MANIFEST), **facts}
    write_json(path, value, storage)


def pointed(checkpoints: Path, name: str) -> dict[str, Any] | None:
    """What a pointer says; None where there is none, or it is damaged."""
    try:
        return read_pointer(checkpoints, name)
    except LabError:
        return None


def read_pointer(checkpoints: Path, name: str) -> dict[str, Any] | None:
    """What a pointer says; None where there is none, LabError where it is damaged."""
    path = pointer_file(checkpoints, name)
    if not path.exists():
        return None
    value = read_json(path, LARGEST_BYTES)
    step = value.get("step") if isinstance(value, dict) else None
    if type(step) is not int or not 0 <= step <= LARGEST_STEP:
        raise LabError(f"{path} is damaged: expected a pointer to a step")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}")
    return value
