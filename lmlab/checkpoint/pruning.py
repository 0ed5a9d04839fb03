"""Which checkpoints are kept, and how others are removed so that a crash leaves no partial one that looks complete."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lmlab import LabError
from lmlab.checkpoint.initial import is_noted
from lmlab.checkpoint.layout import (
    REPLACED,
    UNFINISHED,
    folder_of,
    folders_of,
    replaced_folder,
    steps,
    unfinished_folder,
)
from lmlab.checkpoint.opened import open_checkpoint
from lmlab.checkpoint.pointers import BEST, LATEST, pointed, read_pointer
from lmlab.checkpoint.slimming import clear_unlisted, slim
from lmlab.files import DISK, Storage, remove_temporaries, remove_tree


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which checkpoints of a run are kept.

    Those that latest.json and best.json point to are always kept, and the first (step 0; a branch begins later) unless init.json
    describes how to make it again.
    """

    keep: int
    """How many of the newest ones, at least one."""
    keep_every: int = 0
    """Also keep the steps that are multiples of this; 0: none."""
    weights_only: bool = False
    """Whether all but the newest ones drop everything except their weights."""
    protect: tuple[int, ...] = ()
    """Steps that are kept whole in any case."""
    spare: tuple[int, ...] = ()
    """Steps that are kept, perhaps with their weights only."""


def prune(checkpoints: Path, retention: Retention, storage: Storage = DISK) -> list[int]:
    """Remove the checkpoints that `retention` doesn't keep, slim others as it requires, and return the removed steps, ascending.

    Nothing is removed while a pointer can't be read. Checkpoints after the latest belong to training that a rewind
    discarded, and are removed. One that the system refuses to remove (an open file on Windows) stays until the next call.
    """
    try:
        pointers = pointed_steps(checkpoints)
    except LabError:
        return []
    storage.require_owner()
    present = steps(checkpoints)
    latest = pointers.get(LATEST, max(present, default=0))
    line = [step for step in present if step <= latest]
    whole = {*retention.protect, latest, *line[-max(1, retention.keep) :]}
    every = retention.keep_every
    periodic = (step for step in line if every and step % every == 0)
    first = [] if is_noted(checkpoints) else present[:1]
    kept = {*whole, *retention.spare, *first, *pointers.values(), *periodic}
    removed = [step for step in present if step not in kept and _remove(checkpoints, step, storage)]
    if retention.weights_only:
        for step in sorted(kept & set(present) - whole):
            slim(checkpoints, step, storage)
    if removed:
        with contextlib.suppress(OSError):
            storage.flush_folder(checkpoints)
    return removed


def prune_to_budget(
    checkpoints: Path, needed: int, budget: int, protect: Collection[int], storage: Storage = DISK
) -> None:
    """Slim and remove old checkpoints until `needed` more bytes fit within `budget`; raises LabError if they can't.

    First they drop all but their weights, the oldest first; then they are removed. The newest one, the latest one and the steps in
    `protect` are kept whole, so that until a new checkpoint is verified there is always another. If the pointer to the latest is
    damaged, every step that may be the latest is kept.
    """
    present = steps(checkpoints)
    latest = pointed(checkpoints, LATEST)
    safe = {*protect, *present[-1:], *([latest["step"]] if latest else present[-2:])}
    for shrink in (slim, _remove):
        for step in present:
            if step not in safe and occupied(checkpoints) + needed > budget:
                shrink(checkpoints, step, storage)
    if (left := occupied(checkpoints)) + needed > budget:
        raise LabError(
            f"train.disk {budget / 1e6:,.1f} MB is too little: the checkpoints that must stay occupy {left / 1e6:,.1f} MB and the "
            f"next one takes {needed / 1e6:,.1f} MB; resume with a larger --train.disk"
        )


def occupied(checkpoints: Path) -> int:
    """Return the total bytes of all files in the checkpoints' folder."""
    total = 0
    for path in checkpoints.rglob("*"):
        with contextlib.suppress(OSError):  # it may have just been removed
            total += path.stat().st_size if path.is_file() else 0
    return total


def pointed_steps(checkpoints: Path) -> dict[str, int]:
    """Return the steps of the existing pointers; raises LabError if one is damaged."""
    pointers = {name: read_pointer(checkpoints, name) for name in (LATEST, BEST)}
    return {name: pointer["step"] for name, pointer in pointers.items() if pointer is not None}


def tidy(checkpoints: Path, storage: Storage = DISK) -> None:
    """Clean up after a crash: remove unfinished folders and files; restore a replaced checkpoint if it's needed.

    Only the process that writes checkpoints may call this (the run's lock ensures it): then everything unfinished is
    stale. What the system refuses to remove stays until the next call.
    """
    for entry in sorted(checkpoints.iterdir()):
        replaced = REPLACED.fullmatch(entry.name)
        storage.require_owner()
        with contextlib.suppress(OSError):
            if replaced:
                _restore_replaced(checkpoints, int(replaced[1]), storage)
            elif UNFINISHED.fullmatch(entry.name):
                remove_tree(entry, storage)
    for step in steps(checkpoints):
        with contextlib.suppress(OSError):
            clear_unlisted(folder_of(checkpoints, step), step, storage)
    storage.require_owner()
    remove_temporaries(checkpoints, storage)


def _restore_replaced(checkpoints: Path, step: int, storage: Storage) -> None:
    """Keep the new checkpoint of a step if it's intact, else restore the replaced one."""
    new, old = folder_of(checkpoints, step), replaced_folder(checkpoints, step)
    if new.exists():
        if _intact(new, step) or not _intact(old, step):
            remove_tree(old, storage)
            return
        _discard(new, step, storage)
    storage.rename(old, new)
    storage.flush_folder(checkpoints)


def _intact(folder: Path, step: int) -> bool:
    try:
        open_checkpoint(folder, step)
    except LabError:
        return False
    return True


def _remove(checkpoints: Path, step: int, storage: Storage) -> bool:
    try:
        for folder in folders_of(checkpoints, step):
            _discard(folder, step, storage)
    except OSError:
        return False
    return True


def _discard(folder: Path, step: int, storage: Storage) -> None:
    """Rename the folder away atomically, and only then remove its files."""
    away = unfinished_folder(folder.parent, step)
    storage.rename(folder, away)
    remove_tree(away, storage)
