"""latest.json and best.json: small files that name a step.

    {"format": 1, "step": 250, "manifest_sha256": "...", "loss": 1.4697}

They are plain files because links don't survive every file system, archive and copy.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.layout import LARGEST_STEP, MANIFEST, folders_of
from lmlab.files import DISK, Storage, is_link, read_json, sha256_of_file, without_nan, write_json, writing_failed

FORMAT = 1
LARGEST_BYTES = 1 << 20
LATEST = "latest"
BEST = "best"
NAME = re.compile(r"[a-z]{1,40}")


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best model of a run so far."""

    step: int
    loss: float
    """Its validation loss, in nats a token."""


def pointer_file(checkpoints: Path, name: str) -> Path:
    """Return the path of the pointer called `name`; raises LabError for an invalid name."""
    if not NAME.fullmatch(name):
        raise LabError(f"a pointer can't be called {name[:40]!r}: expected {LATEST} or {BEST}")
    return checkpoints / f"{name}.json"


def point(checkpoints: Path, name: str, step: int, storage: Storage = DISK, **facts: Any) -> None:
    """Make `name` (latest, best) point to the checkpoint of `step`, with further facts to store (a best one's loss)."""
    path = pointer_file(checkpoints, name)
    value = _value(checkpoints, step, **facts)
    if value is None:
        raise LabError(f"{path.name} can't point to step {step}: {checkpoints} has no checkpoint of it")
    write_json(path, value, storage)


def update_pointers(checkpoints: Path, latest: int, best: Best | None, storage: Storage = DISK) -> list[str]:
    """Make latest.json and best.json agree with the state of step `latest`; return the names of those that were rewritten.

    This repairs a pointer that was damaged, or that a crash left behind. A `best` whose checkpoint has no manifest any
    more, or is None, has no pointer.
    """
    changed = []
    wanted: dict[str, dict[str, Any] | None] = {LATEST: {"step": latest}, BEST: None}
    if best is not None:
        wanted[BEST] = {"step": best.step, "loss": best.loss}
    for name, facts in wanted.items():
        path = pointer_file(checkpoints, name)
        value = None if facts is None else _value(checkpoints, **facts)
        if value is None:
            if is_link(path) or path.exists():
                _remove(path, storage)
                changed.append(name)
        elif pointed(checkpoints, name) != value:
            write_json(path, value, storage)
            changed.append(name)
    return changed


def _value(checkpoints: Path, step: int, **facts: Any) -> dict[str, Any] | None:
    """Return the content of a pointer to that step; None if the step has no checkpoint with a manifest."""
    for folder in folders_of(checkpoints, step)[:1]:
        with contextlib.suppress(OSError):
            value = {"format": FORMAT, "step": step, "manifest_sha256": sha256_of_file(folder / MANIFEST), **facts}
            return dict(without_nan(value))
    return None


def _remove(path: Path, storage: Storage) -> None:
    storage.require_owner()
    try:
        storage.remove(path)
    except OSError as error:
        raise writing_failed(path, error) from None


def pointed(checkpoints: Path, name: str) -> dict[str, Any] | None:
    """Return the content of a pointer; None if there is none, or it is damaged."""
    try:
        return read_pointer(checkpoints, name)
    except LabError:
        return None


def read_pointer(checkpoints: Path, name: str) -> dict[str, Any] | None:
    """Return the content of a pointer; None if there is none; raises LabError if it is damaged."""
    path = pointer_file(checkpoints, name)
    if not path.exists():
        return None
    value = read_json(path, LARGEST_BYTES)
    step = value.get("step") if isinstance(value, dict) else None
    if type(step) is not int or not 0 <= step <= LARGEST_STEP:
        raise LabError(f"{path} is damaged: expected a pointer to a step")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    found: dict[str, Any] = value
    return found
