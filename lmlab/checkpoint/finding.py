"""Finding an intact checkpoint by `latest`, `best`, `init` or a step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.initial import is_noted
from lmlab.checkpoint.layout import folders_of, steps
from lmlab.checkpoint.opened import Checkpoint, open_checkpoint
from lmlab.checkpoint.pointers import BEST, LATEST, pointer_file, read_pointer

INIT = "init"
STEP = re.compile(r"[0-9]{1,12}")


def find(checkpoints: Path, which: str) -> tuple[Checkpoint, list[str]]:
    """Return the verified checkpoint that `which` names (latest, best, init or a step), and lines on anything unexpected.

    For `latest` and `best`, a damaged checkpoint is skipped with a line, in favour of the newest intact one before it, or else
    after it. For a step, raises LabError if it has no checkpoint, or a damaged one.
    """
    if which == INIT and 0 not in steps(checkpoints) and is_noted(checkpoints):
        raise LabError(f"{checkpoints} stores step 0 as its seed only: expected it to be drawn again")
    if which == INIT or STEP.fullmatch(which):
        # The first checkpoint: step 0, or the first step of a branched run.
        first = steps(checkpoints)[:1] or [0]
        return _exactly(checkpoints, first[0] if which == INIT else int(which)), []
    if which not in (LATEST, BEST):
        raise LabError(f"there is no checkpoint {which[:40]!r}: expected {LATEST}, {BEST}, {INIT} or a step")
    _require_some(checkpoints)
    lines: list[str] = []
    pointer = _pointer(checkpoints, which, lines)
    target = pointer["step"] if pointer else None
    for step in _order(steps(checkpoints), target, which):
        checkpoint = _first_intact(checkpoints, step, lines)
        if checkpoint is None:
            continue
        if which == BEST and step != target:
            lines.append(f"{checkpoints} has no best checkpoint that is intact: step {step}, the newest, is used")
        if pointer and step == target and pointer.get("manifest_sha256") != checkpoint.sha256:
            lines.append(
                f"{pointer_file(checkpoints, which)} was written for a step {step} that has been replaced since"
            )
        return checkpoint, lines
    raise LabError(
        f"no checkpoint in {checkpoints} is intact: {'; '.join(lines)}; put one back from a copy, or train again"
    )


def _pointer(checkpoints: Path, which: str, lines: list[str]) -> dict[str, Any] | None:
    """Return the content of the pointer, or None with a line added to `lines` if it is damaged."""
    try:
        pointer = read_pointer(checkpoints, which)
    except LabError as error:
        lines.append(f"{error}; passed over")
        return None
    if pointer is not None and pointer["step"] not in steps(checkpoints):
        path = pointer_file(checkpoints, which)
        lines.append(f"{path} points to step {pointer['step']}, which is not there; passed over")
    return pointer


def _order(present: list[int], target: int | None, which: str) -> list[int]:
    """Return the steps to try: the target, then older ones from new to old, then later ones, which a rewind left behind.

    Without a best step there is no reason to prefer one; the newest is the one that training would continue from.
    """
    if target is None or which == BEST:
        return [step for step in (target,) if step in present] + [step for step in reversed(present) if step != target]
    older = [step for step in present if step <= target]
    return older[::-1] + [step for step in reversed(present) if step > target]


def _first_intact(checkpoints: Path, step: int, lines: list[str]) -> Checkpoint | None:
    for folder in folders_of(checkpoints, step):
        try:
            return open_checkpoint(folder, step)
        except LabError as error:
            # A concurrent training process may have pruned it since the listing: that is no damage.
            if folder.exists():
                lines.append(f"{error}; passed over")
    return None


def _exactly(checkpoints: Path, step: int) -> Checkpoint:
    _require_some(checkpoints)
    present = steps(checkpoints)
    if step not in present:
        raise LabError(f"{checkpoints} has no checkpoint of step {step}: it has {_listed(present)}")
    lines: list[str] = []
    checkpoint = _first_intact(checkpoints, step, lines)
    if checkpoint is None:
        others = [other for other in present if other != step]
        raise LabError(f"{'; '.join(lines) or f'step {step} has just been removed'}; other steps: {_listed(others)}")
    return checkpoint


def _require_some(checkpoints: Path) -> None:
    if not steps(checkpoints):
        raise LabError(f"there is no checkpoint in {checkpoints}: expected one that a training saved")


def _listed(present: list[int]) -> str:
    return ", ".join(str(step) for step in present) or "none"
