"""Computation of a training step, from a batch to updated weights, by PyTorch or by the native CPU engine.

A step is two calls, `gradients` and `update`, so that the caller can decide in between whether to make the update. Both
implementations compute the same micro-batches with the same arithmetic, and neither updates the weights where loss or gradient
isn't finite. That update is skipped by a branch: multiplying it by zero wouldn't work, since NaN times zero is NaN.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmlab import LabError
from lmlab.data.windows import IGNORED_TARGET
from lmlab.model.native import native_engine
from lmlab.model.trainable import TrainableModel
from lmlab.native.engine import Engine
from lmlab.optim.build import TrainingOptimizer, optimizer_of
from lmlab.optim.clip import clip_gradients, gradient_norm
from lmlab.optim.native import NativeUpdate
from lmlab.recipe import Recipe
from lmlab.training.compiling import compiled, failure_of
from lmlab.training.deferred import read_later
from lmlab.training.exchange import Exchange
from lmlab.training.parallel import collective, own_share
from lmlab.training.parts import whole
from lmlab.training.policy import Policy
from lmlab.training.scaler import LossScaler
from lmlab.training.seeds import dropout_seed

NO_NATIVE_ENGINE = "the native engine can't compute this model here: use --train.engine torch"


@dataclass(frozen=True, kw_only=True)
class FirstPart:
    """The gradient over the first of several micro-batches, or over rank 0's rows of the batch."""

    norm: float
    """L2 norm of the mean gradient over the part's targets, before clipping."""
    sequences: int
    """Sequences of the part that have a target."""


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Loss and gradient norms of one batch. The gradient tensors stay in the `Computation` until its update."""

    loss_sum: float
    """Sum of nats over the batch's targets."""
    norm: float
    """L2 norm of the gradient of the mean loss, before clipping."""
    first: FirstPart | None
    """None if the whole batch was computed in one part, or one part had all targets."""

    @property
    def finite(self) -> bool:
        """Whether loss and norm are finite."""
        return math.isfinite(self.loss_sum) and math.isfinite(self.norm)


@runtime_checkable
class Computation(Protocol):
    """Computes the gradients of a batch and updates the weights with them."""

    scaler: LossScaler | None
    engine: Engine | None

    def weights_changed(self) -> None:
        """Note that the model's parameters or the optimizer's state were replaced from outside."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int) -> Gradients:
        """Compute the gradients of the mean loss over the batch's `counted` targets; the weights don't change.

        `inputs` and `targets` are int64 [batch, context]. Each call must be followed by a call of `update`.
        """

    def update(self, limit: float | None, share: float) -> bool:
        """Update the weights with the last gradients, and return whether the update was made.

        The gradient is clipped to the norm `limit` (0: not clipped), and the learning rate is `share` of its peak. If `limit` is
        None, or loss or norm isn't finite, neither the weights nor the optimizer's state change.
        """


class TorchComputation:
    """Computation by PyTorch, with the policy's device, precision and compilation.

    The recurrence of a context-propagation model may be computed by the native engine.
    """

    def __init__(self, recipe: Recipe, policy: Policy, model: TrainableModel, optimizer: TrainingOptimizer) -> None:
        self.scaler = LossScaler() if policy.scaler else None
        self.engine: Engine | None = None
        if policy.engine != "native":
            # Samples and scores of the run are computed by PyTorch too.
            model.engine = "torch"
        elif not model.has_engine():
            raise LabError(NO_NATIVE_ENGINE)
        self._recipe = recipe
        self._policy = policy
        self._model = model
        self._optimizer = optimizer
        self.exchange: Exchange | None = None
        """What this rank exchanges with others; None where it computes alone."""
        self._norm: Float[Tensor, ""] = torch.zeros(())
        """Norm of the last gradients, on the device."""
        self._finite = False
        """Whether the last loss and norm were finite."""
        self._first: tuple[Float[Tensor, ""], slice] | None = None
        """Norm of the gradient after the first part of the batch, times the loss scale, and the rows of that part."""
        self._device = policy.torch_device
        self._parameters = _trained(model, optimizer)
        self._loss_function: Callable[[Tensor, Tensor], Tensor] = model.loss_sum
        if policy.compile:
            shapes = (recipe.model, model.vocabulary, policy.micro_batch, policy.autocast, policy.tf32)
            self._loss_function = compiled(model.loss_sum, *shapes)

    def distribute(self) -> Exchange:
        """Compute this rank's rows of each batch from here on, and sum gradients over all ranks. The process group must exist."""
        from lmlab.training.data_parallel import Replicated

        self.exchange = Replicated(self._model, self._loss_function, self._device)
        return self.exchange

    def shard(self) -> TrainingOptimizer:
        """Do the same with a part of weights and optimizer state on each rank; return the new optimizer, whose state is zero."""
        from lmlab.training.sharded import Sharded

        self.exchange = Sharded(self._model, self._device, self._policy.autocast_dtype)
        self._optimizer = optimizer_of(self._model, self._recipe, self._device.type)
        self._parameters = _trained(self._model, self._optimizer)
        return self._optimizer

    def gradients(self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int) -> Gradients:
        """See `Computation`."""
        numbers = self._numbers(inputs, targets, counted, step)
        found = self._found(numbers.tolist(), targets, counted, self._first_rows)
        self._finite = found.finite
        return found

    def launch(
        self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int, limit: float, share: float
    ) -> Callable[[], Gradients]:
        """Launch `gradients` and `update` without waiting for the device, which skips the update if loss or norm isn't finite.

        Return a function that waits for loss and norms, but not for the update. The optimizer must be `gated`.
        """
        numbers = self._numbers(inputs, targets, counted, step)
        read, rows = read_later(numbers), self._first_rows
        clip_gradients(self._parameters, limit, self._norm)
        self._optimizer.set_rate(share)
        self._optimizer.step_unless(~torch.isfinite(numbers[:2]).all())
        return lambda: self._found(read(), targets, counted, rows)

    @property
    def _first_rows(self) -> slice | None:
        """The rows of the first part of the last batch; None if it was computed in one part."""
        return None if self._first is None else self._first[1]

    def _numbers(self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int) -> Float[Tensor, "3"]:
        """Compute the gradients; return loss, norm, and the norm after the first part times the loss scale, on the device."""
        try:
            loss_sum, self._norm = self._backward_batch(inputs, targets, counted, step)
        except Exception as error:
            failure = failure_of(error) if self._policy.compile else None
            if failure is None:
                raise
            raise failure from None
        first_norm = self._norm if self._first is None else self._first[0]
        # One transfer for all numbers: each transfer from a GPU synchronises with the device.
        return torch.stack([loss_sum, self._norm.to(loss_sum.dtype), first_norm.to(loss_sum.dtype)])

    def _found(self, numbers: list[float], targets: np.ndarray, counted: int, first_rows: slice | None) -> Gradients:
        """Return `_numbers` as `Gradients`."""
        loss, norm, first_norm = numbers
        scale = 1.0 if self.scaler is None else self.scaler.scale
        first = None if first_rows is None else first_part(first_norm / scale, targets, counted, first_rows)
        return Gradients(loss_sum=loss, norm=norm, first=first)

    def update(self, limit: float | None, share: float) -> bool:
        """See `Computation`."""
        limit = limit if self._finite else None
        if limit is not None:
            clip_gradients(self._parameters, limit, self._norm)
            self._optimizer.set_rate(share)
            self._optimizer.step()
        if self.scaler is not None:
            self.scaler.update(self._finite)
        return limit is not None

    def weights_changed(self) -> None:
        """Do nothing: the parameters are used in place."""

    def _backward_batch(
        self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the sum of nats over the whole batch and the norm of its gradient, reduced over all ranks."""
        self._optimizer.zero_grad()
        if self.exchange is None:
            loss_sum = self._backward(inputs, targets, counted, step, 0)
        else:
            own = own_share(len(inputs))
            loss_sum = self._backward(inputs[own], targets[own], counted, step, own.start)
            norm = self.exchange.own_norm()
            if self._first is None and norm is not None:
                self._first = norm, own
            loss_sum = self.exchange.exchanged(loss_sum)
        if self.scaler is not None:
            self.scaler.unscale([parameter.grad for parameter in self._parameters if parameter.grad is not None])
        return loss_sum, whole(gradient_norm(self._parameters))

    def _backward(
        self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int, place: int
    ) -> Float[Tensor, ""]:
        """Accumulate the gradients of these rows' part of the mean loss over the whole batch, in which they begin at `place`.

        Return the sum of their nats, on the device.
        """
        total = torch.zeros((), device=self._device, dtype=torch.float32)
        self._first = None
        for first, rows in micro_batches(len(inputs), self._policy.micro_batch):
            if self._recipe.model.dropout:
                torch.manual_seed(dropout_seed(self._recipe.train.seed, step, place + first))
            last = rows.stop >= len(inputs)
            with contextlib.nullcontext() if self.exchange is None else self.exchange.accumulating(last):
                total += self._backward_rows(inputs[rows], targets[rows], counted)
            if first == 0 and not last and (self.exchange is None or not self.exchange.lockstep):
                self._first = gradient_norm(self._parameters), rows
        return total

    def _backward_rows(self, inputs: np.ndarray, targets: np.ndarray, counted: int) -> Float[Tensor, ""]:
        """Accumulate the gradients of one micro-batch's part of the mean loss, and return the sum of its nats."""
        function = self._loss_function if self.exchange is None else self.exchange.loss
        with self._arithmetic():
            loss_sum = function(self._on_device(inputs), self._on_device(targets))
        scaled = loss_sum / max(1, counted)
        scaled = scaled * self.scaler.scale if self.scaler is not None else scaled
        if self.exchange is None:
            scaled.backward()
        else:
            collective((scaled * self.exchange.gradient_factor).backward)
        return loss_sum.detach()

    def _arithmetic(self) -> contextlib.AbstractContextManager[object]:
        dtype = self._policy.autocast_dtype
        return torch.autocast(self._device.type, dtype=dtype) if dtype is not None else contextlib.nullcontext()

    def _on_device(self, rows: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(rows)
        if self._device.type == "cuda":
            # From pinned memory the copy overlaps with the computation.
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)


class NativeComputation:
    """Computation of forward pass, backward pass and update by the native engine, in float32 on the CPU."""

    def __init__(self, recipe: Recipe, policy: Policy, model: TrainableModel, optimizer: TrainingOptimizer) -> None:
        engine = native_engine(model, policy.threads)
        if engine is None:
            raise LabError(NO_NATIVE_ENGINE)
        self.scaler: LossScaler | None = None
        self.engine: Engine | None = engine
        self._recipe = recipe
        self._policy = policy
        self._engine = engine
        self._update = NativeUpdate(optimizer, engine)
        self._finite = False
        """Whether the last loss and norm were finite."""

    def weights_changed(self) -> None:
        """Do nothing: the engine reads the tensors in place."""

    def gradients(self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int) -> Gradients:
        """See `Computation`."""
        loss, part = 0.0, None
        for first, rows in micro_batches(len(inputs), self._policy.micro_batch):
            seed = dropout_seed(self._recipe.train.seed, step, first) if self._recipe.model.dropout else 0
            loss += self._engine.learn(inputs[rows], targets[rows], 1 / max(1, counted), seed, accumulate=first > 0)
            if first == 0 and rows.stop < len(inputs):
                part = first_part(self._update.norm(), targets, counted, rows)
        found = Gradients(loss_sum=loss, norm=self._update.norm(), first=part)
        self._finite = found.finite
        return found

    def update(self, limit: float | None, share: float) -> bool:
        """See `Computation`."""
        if limit is None or not self._finite:
            return False
        self._update.take(limit, share)
        return True


def _trained(model: TrainableModel, optimizer: TrainingOptimizer) -> list[nn.Parameter]:
    """Return the tensors that gradients are computed of: the adapters' where there are some, else the model's own."""
    if optimizer.adapters is not None:
        return list(optimizer.adapters.parameters().values())
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def first_part(norm: float, targets: np.ndarray, counted: int, rows: slice) -> FirstPart | None:
    """Return the `FirstPart` for `rows`, where `norm` is the norm of their part of the gradient of the mean over `counted` targets.

    None if the rows have none of the targets or all of them, as in a short batch.
    """
    own = int(np.count_nonzero(targets[rows] != IGNORED_TARGET))
    return FirstPart(norm=norm * counted / own, sequences=sequences_in(targets[rows])) if 0 < own < counted else None


def sequences_in(targets: np.ndarray) -> int:
    """Return the number of sequences with a target that isn't ignored; the last sequences of a short batch have none."""
    return int(np.count_nonzero((targets != IGNORED_TARGET).any(axis=1)))


def micro_batches(sequences: int, size: int) -> Iterator[tuple[int, slice]]:
    """Yield the index of the first sequence and the rows of each micro-batch."""
    for first in range(0, sequences, size):
        yield first, slice(first, first + size)
