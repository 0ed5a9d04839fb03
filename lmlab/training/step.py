"""One training step, the only one: the batch at the cursor, its gradients, and the update.

    batch at the cursor -> micro-batches -> losses, gradients -> norm, clipping -> guard -> optimizer

CPU, CUDA and MPS, PyTorch and the native engine differ only in the `Policy`; `computation.py` has what it chooses between.
"""

import math
from dataclasses import dataclass

import numpy as np

from lmlab.data.ids import require_ids
from lmlab.data.order import batch_at
from lmlab.model import GPTModel
from lmlab.native.engine import Engine
from lmlab.optim import TrainingOptimizer, rate_share
from lmlab.recipe import Recipe
from lmlab.training.computation import computation
from lmlab.training.policy import Policy
from lmlab.training.scaler import LossScaler
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
        self._computation = computation(recipe, policy, model, optimizer)

    @property
    def scaler(self) -> LossScaler | None:
        """float16's loss scale, where there is one."""
        return self._computation.scaler

    @property
    def engine(self) -> Engine | None:
        """The native engine of the model, where the policy names it."""
        return self._computation.engine

    def take(self, state: State) -> StepResult:
        """Take one step at `state`'s cursor; the state itself is the caller's to move on."""
        inputs, targets = self._batch(state)
        counted = int(np.count_nonzero(targets != IGNORED_TARGET))
        rate = self.rate(state.step)
        loss, norm = self._computation.take(inputs, targets, counted, state.step, rate)
        finite = math.isfinite(loss) and math.isfinite(norm)
        return StepResult(loss_sum=loss, targets=counted, gradient_norm=norm, rate=rate, finite=finite)

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at a step; the schedule counts from its own start."""
        start = self.recipe.schedule.start
        return rate_share(self.recipe.schedule, max(1, self.steps - start), max(0, step - start))

    def _batch(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        recipe = self.recipe
        inputs, targets = batch_at(
            self.tokens, recipe.data.order, recipe.train.seed, recipe.model.context, state.cursor, recipe.train.batch
        )
        require_ids(inputs, self.model.vocabulary)
        require_ids(targets[:, -1], self.model.vocabulary)
        return inputs, targets
