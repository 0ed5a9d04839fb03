"""One training step, the only one: the batch at the cursor, its gradients, and the update.

    gradients   batch at the cursor -> micro-batches -> losses, gradients -> norm
    decision    of whoever trains (`spikes.SpikeGuard`): how far the gradient is clipped, or no update
    update      clipping -> learning rate -> optimizer

CPU, CUDA and MPS, PyTorch and the native engine differ only in the `Policy`; `computation.py` has what it chooses between.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from lmlab.data.fresh import TrainingTokens, training_batch, training_spans
from lmlab.data.ids import require_ids
from lmlab.data.windows import IGNORED_TARGET
from lmlab.model import TrainableModel
from lmlab.native.engine import Engine
from lmlab.optim import TrainingOptimizer, clip_limit, rate_share
from lmlab.recipe import Recipe
from lmlab.training.computation import FirstPart, computation, sequences_in
from lmlab.training.policy import Policy
from lmlab.training.scaler import LossScaler
from lmlab.training.state import State


@dataclass(frozen=True, kw_only=True)
class StepGradients:
    """What the first half of a step gave: a batch and its gradients."""

    loss_sum: float
    """Nats over the step's targets."""
    targets: int
    """How many targets there were."""
    sequences: int
    """How many sequences had one: fewer than the batch in the last one of an epoch of documents."""
    norm: float
    """L2 norm of the whole gradient before clipping."""
    rate: float
    """The share of the peak learning rate that the update is made with."""
    finite: bool
    """Whether loss and gradient are finite; if not, `update` leaves the weights as they are."""
    first: FirstPart | None
    """The gradient over the batch's first micro-batch; None where there is only one."""
    batch: str
    """SHA-256 of the batch's inputs and targets as little-endian int64, one after the other."""

    @property
    def loss(self) -> float:
        """Mean nats a target; NaN without targets."""
        return self.loss_sum / self.targets if self.targets else math.nan


class TrainingStep:
    """The steps of one training: its model, optimizer and data, with what is computed once for all steps."""

    def __init__(
        self,
        recipe: Recipe,
        policy: Policy,
        model: TrainableModel,
        optimizer: TrainingOptimizer,
        tokens: TrainingTokens,
        steps: int,
    ) -> None:
        """`tokens` is the training split or windows in it; `steps` the training's length, which the schedule may need."""
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

    def weights_changed(self) -> None:
        """To be called when model or optimizer were given other numbers, from a checkpoint for example."""
        self._computation.weights_changed()

    def gradients(self, state: State) -> StepGradients:
        """Compute the gradients of the batch at `state`'s cursor; the state and the weights stay as they are.

        Each call is followed by one of `update`.
        """
        inputs, targets = self.batch(state.cursor)
        counted = int(np.count_nonzero(targets != IGNORED_TARGET))
        found = self._computation.gradients(inputs, targets, counted, state.step)
        return StepGradients(
            loss_sum=found.loss_sum,
            targets=counted,
            sequences=sequences_in(targets),
            norm=found.norm,
            rate=self.rate(state.step),
            finite=found.finite,
            first=found.first,
            batch=batch_hash(inputs, targets),
        )

    def update(self, gradients: StepGradients, limit: float | None) -> bool:
        """Update the weights by these gradients, and return whether that was done.

        The gradient is clipped to the norm `limit` (0: not clipped). With None, or where loss or gradient isn't finite, the weights
        stay as they are.
        """
        return self._computation.update(limit, gradients.rate)

    def take(self, state: State) -> StepGradients:
        """Take one whole step at `state`'s cursor without a guard: every finite gradient counts, clipped at the recipe's limit.

        The state itself is the caller's to move on.
        """
        gradients = self.gradients(state)
        self.update(gradients, clip_limit(self.recipe.optim, state.step))
        return gradients

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at a step; the schedule counts from its own start."""
        start = self.recipe.schedule.start
        return rate_share(self.recipe.schedule, max(1, self.steps - start), max(0, step - start))

    def batch(self, cursor: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of the step at a cursor, each int64 [batch, context]."""
        recipe = self.recipe
        inputs, targets = training_batch(
            self.tokens, recipe.data.order, recipe.train.seed, recipe.model.context, cursor, recipe.train.batch
        )
        require_ids(inputs, self.model.vocabulary)
        # The other targets are inputs too; one that counts in no loss is negative.
        require_ids(np.maximum(targets[:, -1], 0), self.model.vocabulary)
        return inputs, targets

    def spans(self, cursor: int) -> tuple[np.ndarray, np.ndarray]:
        """Where in the training split the sequences of that batch begin, and the token after the last of each, int64 [batch]."""
        recipe = self.recipe
        context, batch = recipe.model.context, recipe.train.batch
        return training_spans(self.tokens, recipe.data.order, recipe.train.seed, context, cursor, batch)


def batch_hash(inputs: np.ndarray, targets: np.ndarray) -> str:
    """What tells one batch from another: see `StepResult.batch`."""
    digest = hashlib.sha256()
    for numbers in (inputs, targets):
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").data)
    return digest.hexdigest()


def chained(chain: str, batch: str) -> str:
    """The hash of all batches so far: of the chain before and the new batch's hash; an empty chain is the beginning."""
    return hashlib.sha256((chain + batch).encode()).hexdigest()
