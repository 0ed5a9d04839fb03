"""Saving checkpoints so that a crash at any time leaves the old or the new one intact.

    temporary folder: tensors, state.json, manifest.json, each flushed to the disk; then the folder itself
    -> renamed to step-00000250; the parent folder flushed
    -> read back, every hash compared
    -> latest.json, best.json moved
    -> older ones pruned

The caller holds the run's lock, so it is the only writer.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError
from lmlab.checkpoint.hashed import write_file
from lmlab.checkpoint.layout import (
    LARGEST_STEP,
    MANIFEST,
    STATE,
    SUFFIX,
    folder_of,
    replaced_folder,
    unfinished_folder,
)
from lmlab.checkpoint.manifest import make_manifest
from lmlab.checkpoint.opened import Checkpoint, open_checkpoint
from lmlab.checkpoint.pointers import Best, update_pointers
from lmlab.checkpoint.pruning import Retention, prune, prune_to_budget, tidy
from lmlab.checkpoint.tensors import NamedTensors, file_bytes, write_tensors
from lmlab.files import (
    DISK,
    Storage,
    advice,
    is_plain_name,
    json_bytes,
    reason,
    remove_tree,
    require_free_bytes,
)

MARGIN_BYTES = 8 << 20
"""Space for the manifest, the pointers, the journals and the file system's own tables, which grow while writing."""


def save_and_point(
    checkpoints: Path,
    step: int,
    parts: Mapping[str, NamedTensors],
    state: Mapping[str, Any],
    *,
    retention: Retention,
    budget: int | None = None,
    best: Best | None = None,
    extra: Mapping[str, Any] | None = None,
    storage: Storage = DISK,
) -> Checkpoint:
    """Save, verify, update the pointers and prune, in this order. `best` is the best model so far, whose checkpoint may be this
    one.

    `budget` is how many bytes all checkpoints may occupy together: older ones are slimmed and removed before it is exceeded. If
    `storage` has an owner and another process has taken over, that is raised, and no file of that process is touched.
    Raises LabError as `save` does; whatever fails, earlier checkpoints stay available.
    """
    kept = dataclasses.replace(retention, protect=(*retention.protect, step))
    if best is not None:
        kept = dataclasses.replace(kept, spare=(*kept.spare, best.step))
    if budget is not None and checkpoints.is_dir():
        tidy(checkpoints, storage)
        prune_to_budget(checkpoints, _bytes_of(parts, json_bytes(state)), budget, (*kept.protect, *kept.spare), storage)
    checkpoint = save(checkpoints, step, parts, state, extra, storage)
    update_pointers(checkpoints, step, best, storage)
    prune(checkpoints, kept, storage)
    return checkpoint


def save(
    checkpoints: Path,
    step: int,
    parts: Mapping[str, NamedTensors],
    state: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    storage: Storage = DISK,
) -> Checkpoint:
    """Save the checkpoint of `step`: each part (weights, optimizer) as a file of tensors, and `state` as JSON.

    Returns it read back and verified. An existing checkpoint of the step is replaced, but kept until the new one
    is verified. Raises LabError in one line, with everything as before, if the disk is full or fails.
    """
    _require_names(step, parts)
    state_bytes = json_bytes(state)
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        tidy(checkpoints, storage)
        require_free_bytes(checkpoints, _bytes_of(parts, state_bytes) + MARGIN_BYTES, f"the checkpoint of step {step}")
        unfinished = unfinished_folder(checkpoints, step)
        try:
            _write(unfinished, step, parts, state_bytes, extra or {}, storage)
            storage.require_owner()
        except BaseException:
            with contextlib.suppress(OSError):
                remove_tree(unfinished, storage)
            raise
        replaces = folder_of(checkpoints, step).exists()
        try:
            _put_in_place(unfinished, checkpoints, step, replaces, storage)
            checkpoint = _read_back(checkpoints, step)
        except BaseException:
            _undo(unfinished, checkpoints, step, replaces, storage)
            raise
    except OSError as error:
        storage.require_owner()  # a new owner removes what an earlier one was writing
        raise StorageError(
            f"the checkpoint of step {step} can't be saved in {checkpoints}: {reason(error)}; the ones before it are "
            f"untouched: {advice(error)}, then resume"
        ) from None
    if replaces:
        with contextlib.suppress(OSError):  # what stays is removed before the next save
            remove_tree(replaced_folder(checkpoints, step), storage)
    return checkpoint


def _bytes_of(parts: Mapping[str, NamedTensors], state: bytes) -> int:
    return sum(file_bytes(tensors) for tensors in parts.values()) + len(state)


def _write(
    folder: Path,
    step: int,
    parts: Mapping[str, NamedTensors],
    state: bytes,
    extra: Mapping[str, Any],
    storage: Storage,
) -> None:
    storage.make_folder(folder)
    files = {f"{part}{SUFFIX}": write_tensors(folder / f"{part}{SUFFIX}", parts[part], storage) for part in parts}
    files[STATE] = write_file(folder / STATE, state, storage)
    write_file(folder / MANIFEST, json_bytes(make_manifest(step, files, extra)), storage)
    storage.flush_folder(folder)


def _put_in_place(unfinished: Path, checkpoints: Path, step: int, replaces: bool, storage: Storage) -> None:
    final = folder_of(checkpoints, step)
    if replaces:
        storage.rename(final, replaced_folder(checkpoints, step))
    storage.rename(unfinished, final)
    storage.flush_folder(checkpoints)


def _read_back(checkpoints: Path, step: int) -> Checkpoint:
    try:
        return open_checkpoint(folder_of(checkpoints, step), step)
    except LabError as error:
        raise StorageError(
            f"the checkpoint of step {step} was not read back as it was written ({error}); the ones before it are "
            "untouched: check the disk, then resume"
        ) from None


def _undo(unfinished: Path, checkpoints: Path, step: int, replaces: bool, storage: Storage) -> None:
    """Restore the state before the save; what the disk refuses now, `tidy` does before the next save.

    Only the files on the disk are consulted: a signal may have arrived between a rename and recording that it was done.
    """
    final, replaced = folder_of(checkpoints, step), replaced_folder(checkpoints, step)
    with contextlib.suppress(OSError):
        try:
            # While the unfinished folder exists, the folder with the step's name isn't ours.
            if not unfinished.exists() and final.exists() and (replaced.exists() or not replaces):
                storage.rename(final, unfinished)
            if replaced.exists() and not final.exists():
                storage.rename(replaced, final)
        finally:
            if unfinished.exists():
                remove_tree(unfinished, storage)
        storage.flush_folder(checkpoints)


def _require_names(step: int, parts: Mapping[str, NamedTensors]) -> None:
    if not 0 <= step <= LARGEST_STEP:
        raise LabError(f"there is no checkpoint of step {step}: expected 0 to {LARGEST_STEP}")
    for part in parts:
        if not is_plain_name(part):
            raise LabError(f"{part[:40]!r} can't be the name of a checkpoint's part: expected one such as weights")
