"""Which checkpoints stay, and how others are removed so that a crash leaves no half one that looks whole."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from lmlab import LabError
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
from lmlab.checkpoint.pointers import BEST, LATEST, read_pointer
from lmlab.files import DISK, Storage, remove_temporaries, remove_tree


def prune(checkpoints: Path, keep: int, protect: Collection[int] = (), storage: Storage = DISK) -> list[int]:
    """Remove all but the `keep` newest checkpoints and return the removed steps, ascending.

    The first (step 0; a branch begins later), what latest.json and best.json point to and the steps in `protect` always
    stay; so does everything while a pointer can't be read. Checkpoints after the latest are of a line of training that
    a rewind left, and go. One that the system won't let go of (an open file on Windows) stays until the next time.
    """
    try:
        pointers = {name: pointer for name in (LATEST, BEST) if (pointer := read_pointer(checkpoints, name))}
    except LabError:
        return []
    present = steps(checkpoints)
    latest = pointers[LATEST]["step"] if LATEST in pointers else max(present, default=0)
    line = [step for step in present if step <= latest]
    kept = {*present[:1], *protect, *(pointer["step"] for pointer in pointers.values()), *line[-max(1, keep) :]}
    removed = [step for step in present if step not in kept and _remove(checkpoints, step, storage)]
    if removed:
        with contextlib.suppress(OSError):
            storage.flush_folder(checkpoints)
    return removed


def tidy(checkpoints: Path, storage: Storage = DISK) -> None:
    """Clear away what a crash left: unfinished folders and files go; a replaced checkpoint comes back if it's needed.

    Only the process that writes checkpoints may do this (a run's lock sees to that): then whatever is unfinished is
    stale. What the system won't let go of stays until the next time.
    """
    for entry in sorted(checkpoints.iterdir()):
        replaced = REPLACED.fullmatch(entry.name)
        with contextlib.suppress(OSError):
            if replaced:
                _settle(checkpoints, int(replaced[1]), storage)
            elif UNFINISHED.fullmatch(entry.name):
                remove_tree(entry, storage)
    remove_temporaries(checkpoints, storage)


def _settle(checkpoints: Path, step: int, storage: Storage) -> None:
    """Keep the new checkpoint of a step where it's intact, else put the replaced one back."""
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
    """Take the folder's name away in one step, and only then its files."""
    away = unfinished_folder(folder.parent, step)
    storage.rename(folder, away)
    remove_tree(away, storage)
