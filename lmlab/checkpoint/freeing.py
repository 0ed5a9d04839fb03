"""What manual pruning would free, computed before anything is removed; and the pruning itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.initial import note_initial
from lmlab.checkpoint.layout import SUFFIX, folders_of, steps
from lmlab.checkpoint.manifest import read_manifest
from lmlab.checkpoint.pointers import LATEST
from lmlab.checkpoint.pruning import Retention, occupied, pointed_steps, prune, tidy
from lmlab.checkpoint.slimming import WEIGHTS, slim
from lmlab.files import DISK, Storage


@dataclass(frozen=True, kw_only=True)
class Freeing:
    """Which checkpoints of a run would be pruned."""

    kept: tuple[int, ...]
    """Steps that stay whole."""
    slimmed: tuple[int, ...]
    """Steps that keep their weights only."""
    removed: tuple[int, ...]
    """Steps that are removed."""
    bytes: int
    """Bytes that this frees."""


def to_free(checkpoints: Path, whole_checkpoints: bool = False, made_again: bool = False) -> Freeing:
    """Return what `free` will do: all but the latest and the best drop their other parts, or with `whole_checkpoints` are removed.

    The first checkpoint's weights are kept in either case, unless it can be `made_again` from its seed; if the latest or the
    best is damaged, the one used in its place is kept too. Raises LabError if a pointer is damaged, or no checkpoint is intact:
    nothing is pruned then.
    """
    present = steps(checkpoints)
    if not present:
        return Freeing(kept=(), slimmed=(), removed=(), bytes=0)
    pointers = pointed_steps(checkpoints)
    kept = {*pointers.values(), *(find(checkpoints, name)[0].step for name in {LATEST, *pointers})}
    others = [step for step in present if step not in kept]
    first = None if made_again else present[0]
    removed = [step for step in others if whole_checkpoints and step != first]
    sizes = {step: _droppable(checkpoints, step) for step in others if step not in removed}
    slimmed = [step for step, size in sizes.items() if size]
    total = sum(occupied(folder) for step in removed for folder in folders_of(checkpoints, step))
    return Freeing(
        kept=tuple(sorted(kept)), slimmed=tuple(slimmed), removed=tuple(removed), bytes=total + sum(sizes.values())
    )


def free(checkpoints: Path, freeing: Freeing, storage: Storage = DISK) -> int:
    """Prune what `to_free` returned, and return the bytes freed. The caller holds the run's lock.

    A crash at any time leaves the checkpoints intact.
    """
    before = occupied(checkpoints)
    tidy(checkpoints, storage)
    if 0 in freeing.removed:
        note_initial(checkpoints, storage)
    for step in freeing.slimmed:
        slim(checkpoints, step, storage)
    if freeing.removed:
        prune(checkpoints, Retention(keep=1, protect=freeing.kept), storage)
    return before - occupied(checkpoints)


def _droppable(checkpoints: Path, step: int) -> int:
    """Return the bytes of a checkpoint's parts besides its weights; 0 if it has none, or is damaged."""
    total = 0
    for folder in folders_of(checkpoints, step)[:1]:
        try:
            files = read_manifest(folder, step)["files"]
        except LabError:
            return 0
        if WEIGHTS in files:
            total += sum(
                int(facts["bytes"]) for name, facts in files.items() if name.endswith(SUFFIX) and name != WEIGHTS
            )
    return total
