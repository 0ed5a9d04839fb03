"""Saving of model, optimizer and state to a checkpoint, and restoring; saves are synchronous or in the background.

A background save copies the tensors, and a thread writes the copies while training goes on. latest.json is updated once the bytes
are on the disk, as always. The next save waits until the previous one has finished, and an error of the thread is raised at the
next step.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.opened import Checkpoint, read_state_file
from lmlab.checkpoint.pointers import Best
from lmlab.checkpoint.pruning import Retention
from lmlab.checkpoint.saving import save_and_point
from lmlab.files import DISK, Storage
from lmlab.model.cost import parameters
from lmlab.optim.build import TrainingOptimizer
from lmlab.recipe import Model, Recipe
from lmlab.recipe.quantities import bytes_in
from lmlab.training.copies import Copies, Parts
from lmlab.training.parts import whole
from lmlab.training.scaler import LossScaler
from lmlab.training.spikes import rewind_targets
from lmlab.training.state import State, read_state

SMALLEST_IN_BACKGROUND = 32 << 20
"""Bytes of tensors from which a background save saves more time than the copy and the shared processor cost."""


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
        """If `storage` has an owner and another process has taken over the run, saves raise an error and write nothing."""
        self._storage = storage
        self._checkpoints = checkpoints
        self._recipe = recipe
        self._model = model
        self._optimizer = optimizer
        self._copies = Copies()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.background_seconds = 0.0
        """Total seconds of background saves."""

    def save(self, state: State, journal: dict[str, int]) -> None:
        """Save everything that the next step depends on; `journal` holds the lengths of the run's .jsonl files.

        The checkpoint is on the disk when this returns, or, for a background save, when `check_save(True)` returns.
        """
        self.check_save(True)
        parts: Parts = {"weights": dict(self._model.state_dict()), "optimizer": self._optimizer.state_tensors()}
        parts = {
            part: {name: on_one_rank(tensor) for name, tensor in tensors.items()} for part, tensors in parts.items()
        }
        if not self._in_background(parts):
            self._write(state.step, parts, state.to_json(journal), best_of(state))
            return
        copies, wait = self._copies.take(parts)
        facts = (wait, state.step, copies, state.to_json(journal), best_of(state))
        # A daemon, so that a second signal ends the process at once: the previous checkpoint is still intact then.
        self._thread = threading.Thread(target=self._write_in_background, args=facts, name="checkpoint", daemon=True)
        self._thread.start()

    def check_save(self, wait: bool) -> None:
        """Raise the error of a background save that has finished; with `wait`, wait until it has finished first."""
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

    def _write_in_background(self, wait: Callable[[], None], *facts: Any) -> None:
        started = time.perf_counter()
        try:
            wait()
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
        """Yield the best steps recorded in the checkpoints that a rewind may restore: after it they are the best again."""
        for target in targets:
            with contextlib.suppress(LabError):
                best = read_state(read_state_file(self._checkpoints, target))[0].best_step
                if best is not None:
                    yield best


def saves_in_background(recipe: Recipe, checkpoint_bytes: int) -> bool:
    """Return whether checkpoints of this size are saved in the background."""
    requested = recipe.train.background
    return checkpoint_bytes >= SMALLEST_IN_BACKGROUND if requested == "auto" else requested == "on"


def best_of(state: State) -> Best | None:
    """Return the step and loss of the best model so far; None before the first evaluation."""
    if state.best_step is None:
        return None
    return Best(step=state.best_step, loss=math.nan if state.best_loss is None else state.best_loss)


def forget_lost_best(checkpoints: Path, state: State) -> list[str]:
    """Reset the best model in `state` if its checkpoint is missing or damaged; return a line that reports it, if so."""
    if state.best_step is None or state.best_step == state.step:
        return []
    try:
        find(checkpoints, str(state.best_step))
    except LabError as error:
        lost, state.best_step, state.best_loss = state.best_step, None, None
        return [f"the best model so far, of step {lost:,}, is lost ({error}): the best from here on counts"]
    return []


def on_one_rank(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return the tensor itself, or a whole copy in the CPU's memory where each rank has a part; all ranks must then call it."""
    gathered = whole(tensor)
    return tensor if gathered is tensor else gathered.cpu()


def require_weights(checkpoint: Checkpoint, model: Model, vocabulary: int) -> None:
    """Raise a LabError unless the checkpoint has as many weights as the model; called before the model is built.

    So a recipe that describes a huge model allocates no more memory than the checkpoint's size justifies.
    """
    found, expected = checkpoint.elements("weights"), parameters(model, vocabulary)["total"]
    if found != expected:
        raise LabError(
            f"{checkpoint.folder} doesn't hold the weights of the recipe's model: it has {found:,} numbers, expected {expected:,}"
        )


def restore_weights(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Load a checkpoint's weights into `model`, on its device.

    LabError if a tensor is missing, unknown, or has another shape or dtype; the model doesn't change then.
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
    """Load a checkpoint into model, optimizer and scaler, on their devices; return its state and journal lengths."""
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
