"""From model, optimizer and state to a checkpoint and back."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lmlab import LabError
from lmlab.checkpoint import Checkpoint, save_and_point
from lmlab.model import parameters
from lmlab.optim import TrainingOptimizer
from lmlab.recipe import Model
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


def require_weights(checkpoint: Checkpoint, model: Model, vocabulary: int) -> None:
    """LabError unless the checkpoint holds as many numbers as such a model has: asked before one is built.

    So a recipe that claims a model of any size takes no more memory than the file that is there.
    """
    found, expected = checkpoint.elements("weights"), parameters(model, vocabulary)["total"]
    if found != expected:
        raise LabError(
            f"{checkpoint.folder} doesn't hold the weights of the recipe's model: it has {found:,} numbers, expected {expected:,}"
        )


def restore_weights(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Put a checkpoint's weights into `model`, on whatever device it is.

    LabError where a tensor is missing, unknown, or of another shape or dtype; nothing has been changed then.
    """
    found, live = checkpoint.tensors("weights"), model.state_dict()
    for name in sorted(live.keys() ^ found.keys()):
        what = "lack" if name in live else "have an unknown"
        raise LabError(f"the weights in {checkpoint.folder} {what} {name}: expected those of the recipe's model")
    for name, tensor in live.items():
        if tensor.shape != found[name].shape or tensor.dtype != found[name].dtype:
            raise LabError(
                f"the weights in {checkpoint.folder} have {name} as {found[name].dtype} {tuple(found[name].shape)}: "
                f"expected {tensor.dtype} {tuple(tensor.shape)}"
            )
    model.load_state_dict(found)


def restore_training(
    checkpoint: Checkpoint, model: nn.Module, optimizer: TrainingOptimizer, scaler: LossScaler | None
) -> tuple[State, dict[str, int]]:
    """Put a checkpoint's tensors in place, on whatever device they belong; returns the state and the journal lengths."""
    state, journal = read_state(checkpoint.state)
    if state.step != checkpoint.step:
        raise LabError(f"{checkpoint.folder} is damaged: its state.json is of step {state.step:,}")
    restore_weights(checkpoint, model)
    optimizer.load_state_tensors(checkpoint.tensors("optimizer"))
    if scaler is not None and state.scale is not None:
        scaler.scale, scaler.clean_steps = state.scale, state.clean_steps
    return state, journal
