"""From model, optimizer and state to a checkpoint and back."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lmlab.checkpoint import Checkpoint, save_and_point
from lmlab.optim import TrainingOptimizer
from lmlab.training.scaler import LossScaler
from lmlab.training.state import State, read_state


def save_training(
    checkpoints: Path,
    model: nn.Module,
    optimizer: TrainingOptimizer,
    state: State,
    journal: dict[str, int],
    keep: int,
    best: bool,
) -> Checkpoint:
    """Save everything that the next step depends on; `journal` holds the lengths of the run's .jsonl files."""
    parts = {"weights": dict(model.state_dict()), "optimizer": optimizer.state_tensors()}
    return save_and_point(
        checkpoints, state.step, parts, state.to_json(journal), keep=keep, best=best, loss=state.best_loss
    )


def restore_training(
    checkpoint: Checkpoint, model: nn.Module, optimizer: TrainingOptimizer, scaler: LossScaler | None
) -> tuple[State, dict[str, int]]:
    """Put a checkpoint's tensors in place, on whatever device they belong; returns the state and the journal lengths."""
    state, journal = read_state(checkpoint.state)
    model.load_state_dict(checkpoint.tensors("weights"))
    optimizer.load_state_tensors(checkpoint.tensors("optimizer"))
    if scaler is not None and state.scale is not None:
        scaler.scale, scaler.clean_steps = state.scale, state.clean_steps
    return state, journal
