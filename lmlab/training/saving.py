"""From model, optimizer and state to a checkpoint and back; at once, or beside the training from a snapshot in memory.

Beside the training: the tensors are copied, and a thread writes the copies while the next steps are taken. latest.json moves when
the bytes are on the disk, as always; a save that is still under way is waited for before the next begins; and what went wrong
surfaces at the next step.
"""

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn

from lmlab import LabError
from lmlab.checkpoint import Best, Checkpoint, Retention, find, read_state_file, save_and_point
from lmlab.files import DISK, Storage
from lmlab.model import parameters
from lmlab.optim import TrainingOptimizer
from lmlab.recipe import Model, Recipe
from lmlab.recipe.quantities import bytes_in
from lmlab.training.scaler import LossScaler
from lmlab.training.spikes import rewind_targets
from lmlab.training.state import State, read_state

SMALLEST_IN_BACKGROUND = 32 << 20
"""Bytes of tensors from which a save beside the training gains more than the copy and the shared processor cost."""

Parts = Mapping[str, Mapping[str, Tensor]]


class Saver:
    """Saves the checkpoints of one training."""

    def __init__(
        self,
        checkpoints: Path,
        recipe: Recipe,
        model: nn.Module,
        optimizer: TrainingOptimizer,
        storage: Storage = DISK,
    ) -> None:
        """Where `storage` has an owner and another process has taken the run over, nothing is saved, and that is raised."""
        self._storage = storage
        self._checkpoints = checkpoints
        self._recipe = recipe
        self._model = model
        self._optimizer = optimizer
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.background_seconds = 0.0
        """Time that saves took beside the training."""

    def save(self, state: State, journal: dict[str, int]) -> None:
        """Save everything that the next step depends on; `journal` holds the lengths of the run's .jsonl files.

        On the disk when this returns, or, beside the training, when `check_save(True)` does.
        """
        self.check_save(True)
        parts: Parts = {"weights": dict(self._model.state_dict()), "optimizer": self._optimizer.state_tensors()}
        if not self._in_background(parts):
            self._write(state.step, parts, state.to_json(journal), best_of(state))
            return
        copies = {part: {name: copied(tensor) for name, tensor in tensors.items()} for part, tensors in parts.items()}
        facts = (state.step, copies, state.to_json(journal), best_of(state))
        # A second signal stops at once: a save that dies with the process leaves the checkpoint before it.
        self._thread = threading.Thread(target=self._write_in_background, args=facts, name="checkpoint", daemon=True)
        self._thread.start()

    def check_save(self, wait: bool) -> None:
        """Raise what a save beside the training met, if one is over; with `wait`, when it is over."""
        thread = self._thread
        if thread is None or (thread.is_alive() and not wait):
            return
        thread.join()
        self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _in_background(self, parts: Parts) -> bool:
        return saves_in_background(
            self._recipe, sum(tensor.nbytes for tensors in parts.values() for tensor in tensors.values())
        )

    def _write_in_background(self, *facts: Any) -> None:
        started = time.perf_counter()
        try:
            self._write(*facts)
        except BaseException as error:  # noqa: BLE001 - handed to the training, which raises it
            self._failure = error
        self.background_seconds += time.perf_counter() - started

    def _write(self, step: int, parts: Parts, state: dict[str, Any], best: Best | None) -> None:
        train, targets = self._recipe.train, rewind_targets(self._recipe, step)
        retention = Retention(
            keep=train.keep,
            keep_every=train.keep_every,
            weights_only=train.keep_optimizer == "latest",
            protect=targets,
            spare=tuple(sorted({*self._bests_of(targets)})),
        )
        budget = None if train.disk is None else bytes_in(train.disk)
        save_and_point(
            self._checkpoints, step, parts, state, retention=retention, budget=budget, best=best, storage=self._storage
        )

    def _bests_of(self, targets: tuple[int, ...]) -> Iterator[int]:
        """The steps of the best models of the checkpoints that a rewind may go back to: they are the best again then."""
        for target in targets:
            with contextlib.suppress(LabError):
                best = read_state(read_state_file(self._checkpoints, target))[0].best_step
                if best is not None:
                    yield best


def saves_in_background(recipe: Recipe, checkpoint_bytes: int) -> bool:
    """Whether checkpoints of this size are copied and written beside the training."""
    wish = recipe.train.background
    return checkpoint_bytes >= SMALLEST_IN_BACKGROUND if wish == "auto" else wish == "on"


def best_of(state: State) -> Best | None:
    """The best model so far by what `state` says."""
    if state.best_step is None:
        return None
    return Best(step=state.best_step, loss=math.nan if state.best_loss is None else state.best_loss)


def forget_lost_best(checkpoints: Path, state: State) -> list[str]:
    """Where the best model's checkpoint isn't there or not intact, the best from here on counts; a line that says so."""
    if state.best_step is None or state.best_step == state.step:
        return []
    try:
        find(checkpoints, str(state.best_step))
    except LabError as error:
        lost, state.best_step, state.best_loss = state.best_step, None, None
        return [f"the best model so far, of step {lost:,}, is lost ({error}): the best from here on counts"]
    return []


def copied(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """A copy in the CPU's memory that no later step changes."""
    return tensor.detach().to("cpu", copy=True)


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
    if "optimizer" not in checkpoint.parts:
        raise LabError(
            f"{checkpoint.folder} keeps its weights only, so training can't go on from it exactly: begin a new run from it "
            f"with lmlab train --from RUN@{checkpoint.step}"
        )
    state, journal = read_state(checkpoint.state)
    if state.step != checkpoint.step:
        raise LabError(f"{checkpoint.folder} is damaged: its state.json is of step {state.step:,}")
    restore_weights(checkpoint, model)
    optimizer.load_state_tensors(checkpoint.tensors("optimizer"))
    if scaler is not None and state.scale is not None:
        scaler.scale, scaler.clean_steps = state.scale, state.clean_steps
    return state, journal
