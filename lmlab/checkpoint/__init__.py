"""Durable named tensors: checkpoints saved so that a crash at any time leaves the old or the new one intact.

Names are looked up on first use, so that listing checkpoints doesn't import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.checkpoint.finding import find
    from lmlab.checkpoint.freeing import Freeing, free, to_free
    from lmlab.checkpoint.initial import is_noted, note_initial, read_initial
    from lmlab.checkpoint.layout import steps
    from lmlab.checkpoint.opened import Checkpoint, open_checkpoint, read_state_file
    from lmlab.checkpoint.pointers import Best, point, pointed, update_pointers
    from lmlab.checkpoint.pruning import Retention, prune
    from lmlab.checkpoint.saving import save, save_and_point
    from lmlab.checkpoint.tensors import file_sha256, read_tensors, write_tensors

__all__ = [
    "Best",
    "Checkpoint",
    "Freeing",
    "Retention",
    "file_sha256",
    "find",
    "free",
    "is_noted",
    "note_initial",
    "open_checkpoint",
    "point",
    "pointed",
    "prune",
    "read_initial",
    "read_state_file",
    "read_tensors",
    "save",
    "save_and_point",
    "update_pointers",
    "steps",
    "to_free",
    "write_tensors",
]

__getattr__ = lazily(
    __name__,
    {
        "Best": "pointers",
        "Checkpoint": "opened",
        "Freeing": "freeing",
        "Retention": "pruning",
        "file_sha256": "tensors",
        "find": "finding",
        "free": "freeing",
        "is_noted": "initial",
        "note_initial": "initial",
        "open_checkpoint": "opened",
        "point": "pointers",
        "pointed": "pointers",
        "prune": "pruning",
        "read_initial": "initial",
        "read_state_file": "opened",
        "read_tensors": "tensors",
        "save": "saving",
        "save_and_point": "saving",
        "update_pointers": "pointers",
        "steps": "layout",
        "to_free": "freeing",
        "write_tensors": "tensors",
    },
)
