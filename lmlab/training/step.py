"""One training step, the only one: micro-batches, precision, clipping, the non-finite guard and the update.

    batch at the cursor -> micro-batches -> losses, gradients -> norm, clipping -> guard -> optimizer

CPU, CUDA and MPS differ only in the `Policy`. A loss or gradient that is not finite never reaches the weights: the update is
left out by a branch (a NaN times zero is a NaN, so nothing is multiplied away).
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmlab.data.order import batch_at
from lmlab.model import GPTModel
from lmlab.optim import TrainingOptimizer, clip_gradients, rate_share
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy
from lmlab.training.scaler import LossScaler
from lmlab.training.seeds import dropout_seed
from lmlab.training.state import State

IGNORED_TARGET = -100
"""Targets that count in no loss, torch's own convention."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step gave."""

    loss_sum: float
    """Nats over the step's targets."""
    targets: int
    """How many targets there were."""
    gradient_norm: float
    """Norm of the whole gradient before clipping."""
    rate: float
    """The share of the peak learning rate that the update used."""
    finite: bool
    """Whether loss and gradient were finite; if not, the weights were not touched."""

    @property
    def loss(self) -> float:
        """Mean nats a target."""
        return self.loss_sum / self.targets if self.targets else math.nan


class TrainingStep:
    """A model, its optimizer and its data, with everything that needs no doing twice done once."""

    def __init__(
        self,
        recipe: Recipe,
        policy: Policy,
        model: GPTModel,
        optimizer: TrainingOptimizer,
        tokens: np.ndarray,
        steps: int,
    ) -> None:
        """`tokens` is the training split; `steps` the length of the training, which the schedule may need."""
        self.recipe = recipe
        self.policy = policy
        self.model = model
        self.optimizer = optimizer
        self.tokens = tokens
        self.steps = steps
        self.device = policy.torch_device
        self.scaler = LossScaler() if policy.scaler else None
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.loss_function: Callable[[Tensor, Tensor], Tensor] = model.loss_sum
        if policy.compile:
            self.loss_function = torch.compile(model.loss_sum, dynamic=False)

    def take(self, state: State) -> StepResult:
        """Take one step at `state`'s cursor; the state itself is the caller's to move on."""
        inputs, targets = self._batch(state)
        counted = int(np.count_nonzero(targets != IGNORED_TARGET))
        self.optimizer.zero_grad()
        loss_sum = self._backward(inputs, targets, counted, state.step)
        rate = self.rate(state.step)
        if self.scaler is not None:
            self.scaler.unscale([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        norm = clip_gradients(self.parameters, self.recipe.optim.clip)
        # One transfer for both numbers: on a GPU each would wait for the device.
        loss, gradient_norm = torch.stack([loss_sum, norm.to(loss_sum.dtype)]).tolist()
        finite = math.isfinite(loss) and math.isfinite(gradient_norm)
        if finite:
            self.optimizer.set_rate(rate)
            self.optimizer.step()
        if self.scaler is not None:
            self.scaler.update(finite)
        return StepResult(loss_sum=loss, targets=counted, gradient_norm=gradient_norm, rate=rate, finite=finite)

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at a step; the schedule counts from its own start."""
        start = self.recipe.schedule.start
        return rate_share(self.recipe.schedule, max(1, self.steps - start), max(0, step - start))

    def _batch(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        recipe = self.recipe
        return batch_at(
            self.tokens, recipe.data.order, recipe.train.seed, recipe.model.context, state.cursor, recipe.train.batch
        )

    def _backward(self, inputs: np.ndarray, targets: np.ndarray, counted: int, step: int) -> Tensor:
        """Gradients of the mean loss over the whole batch; returns the sum of nats, on the device."""
        total = torch.zeros((), device=self.device, dtype=torch.float32)
        for first in range(0, len(inputs), self.policy.micro_batch):
            rows = slice(first, first + self.policy.micro_batch)
            if self.recipe.model.dropout:
                torch.manual_seed(dropout_seed(self.recipe.train.seed, step, first))
            with self._arithmetic():
                loss_sum = self.loss_function(self._on_device(inputs[rows]), self._on_device(targets[rows]))
            scaled = loss_sum / max(1, counted)
            (scaled * self.scaler.scale if self.scaler is not None else scaled).backward()
            total += loss_sum.detach()
        return total

    def _arithmetic(self) -> contextlib.AbstractContextManager[object]:
        dtype = self.policy.autocast_dtype
        return torch.autocast(self.device.type, dtype=dtype) if dtype is not None else contextlib.nullcontext()

    def _on_device(self, rows: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(rows)
        if self.device.type == "cuda":
            # Pinned memory lets the copy run beside the computation.
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)
