"""The training step, used by all callers: the batch at the cursor, its gradients, and the update.

    gradients   batch at the cursor -> micro-batches -> losses, gradients -> norm
    decision    by the caller (`spikes.SpikeGuard`): the norm that the gradient is clipped to, or no update
    update      clipping -> learning rate -> optimizer

CPU, CUDA and MPS, PyTorch and the native engine differ only in the `Policy`, which selects an implementation in `computation.py`.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmlab.data.fresh import TrainingTokens, training_batch, training_pieces, training_spans
from lmlab.data.ids import require_ids
from lmlab.data.paging import random_reads
from lmlab.data.windows import IGNORED_TARGET
from lmlab.model.trainable import TrainableModel
from lmlab.native.engine import Engine
from lmlab.optim.build import TrainingOptimizer
from lmlab.optim.limit import clip_limit
from lmlab.optim.schedule import rate_share
from lmlab.recipe import Recipe
from lmlab.training.ahead import Batch, BatchesAhead
from lmlab.training.computation import FirstPart, Gradients, TorchComputation, sequences_in
from lmlab.training.deferred import defers
from lmlab.training.engines import computation
from lmlab.training.exchange import Exchange
from lmlab.training.policy import Policy
from lmlab.training.scaler import LossScaler
from lmlab.training.state import State


@dataclass(frozen=True, kw_only=True)
class StepGradients:
    """Loss and gradient norms of a batch: the result of the first half of a step."""

    loss_sum: float
    """Sum of nats over the step's targets."""
    targets: int
    """Number of targets."""
    sequences: int
    """Number of sequences with a target: fewer than the batch size in the last batch of an epoch of documents."""
    norm: float
    """L2 norm of the whole gradient before clipping."""
    rate: float
    """The learning rate of this step, as a share of the peak."""
    finite: bool
    """Whether loss and gradient are finite; if not, `update` doesn't change the weights."""
    first: FirstPart | None
    """The gradient over the batch's first micro-batch; None if there is only one."""
    batch: str
    """SHA-256 of the batch's inputs and targets as little-endian int64, one after the other."""

    @property
    def loss(self) -> float:
        """Mean nats per target; NaN without targets."""
        return self.loss_sum / self.targets if self.targets else math.nan


class TrainingStep:
    """Takes the steps of one training; holds its model, optimizer, data and `Computation`."""

    def __init__(
        self,
        recipe: Recipe,
        policy: Policy,
        model: TrainableModel,
        optimizer: TrainingOptimizer,
        tokens: TrainingTokens,
        steps: int,
    ) -> None:
        """`tokens` is the training split or windows of it; `steps` is the training's length, which schedules may need."""
        self.recipe = recipe
        self.policy = policy
        self.model = model
        self.optimizer = optimizer
        self.tokens = tokens
        self.steps = steps
        self._computation = computation(recipe, policy, model, optimizer)
        self.deferred = defers(recipe, policy, optimizer)
        """Whether the loop uses `launch` instead of `gradients` and `update`."""
        self._pages = random_reads(tokens)
        # On a CPU all threads compute the step, and a further one would only delay them.
        self._ahead = None if policy.torch_device.type == "cpu" else BatchesAhead(self._read)

    @property
    def scaler(self) -> LossScaler | None:
        """The loss scaler of float16; None for other precisions."""
        return self._computation.scaler

    @property
    def engine(self) -> Engine | None:
        """The native engine that computes the steps; None if PyTorch does."""
        return self._computation.engine

    @property
    def exchange(self) -> Exchange | None:
        """What this rank exchanges with others; None where it computes alone."""
        return self._computation.exchange if isinstance(self._computation, TorchComputation) else None

    def distribute(self) -> Exchange:
        """Compute this rank's rows of each batch from here on, and sum gradients over all ranks; see `TorchComputation`."""
        assert isinstance(self._computation, TorchComputation)  # a policy of several ranks has no other engine
        return self._computation.distribute()

    def shard(self) -> Exchange:
        """Do the same with a part of weights and optimizer state on each rank; the new optimizer's state is zero."""
        assert isinstance(self._computation, TorchComputation)
        self.optimizer = self._computation.shard()
        assert self._computation.exchange is not None
        return self._computation.exchange

    def weights_changed(self) -> None:
        """Must be called after the model's or optimizer's tensors were replaced, for example from a checkpoint."""
        self._computation.weights_changed()

    def gradients(self, state: State) -> StepGradients:
        """Compute the gradients of the batch at `state`'s cursor; neither the state nor the weights change.

        Each call must be followed by a call of `update`.
        """
        batch = self._batch_at(state.cursor)
        found = self._computation.gradients(batch.inputs, batch.targets, batch.counted, state.step)
        return self._described(found, batch, state.step)

    def update(self, gradients: StepGradients, limit: float | None) -> bool:
        """Update the weights with these gradients, and return whether the update was made.

        The gradient is clipped to the norm `limit` (0: not clipped). If `limit` is None, or loss or gradient isn't finite, the
        weights don't change.
        """
        return self._computation.update(limit, gradients.rate)

    def launch(self, step: int, cursor: int) -> Callable[[], StepGradients]:
        """Launch a whole step, counted from 0, without waiting for the device; return a function that waits for its numbers.

        The gradient is clipped to the recipe's norm; the device skips the update where loss or gradient isn't finite. Only for a
        training that is `deferred`.
        """
        assert isinstance(self._computation, TorchComputation)  # others aren't deferred
        batch = self._batch_at(cursor)
        limit, share = clip_limit(self.recipe.optim, step), self.rate(step)
        read = self._computation.launch(batch.inputs, batch.targets, batch.counted, step, limit, share)
        return lambda: self._described(read(), batch, step)

    def _described(self, found: Gradients, batch: Batch, step: int) -> StepGradients:
        """Return what was found, with what the host knows of the step and its batch."""
        return StepGradients(
            loss_sum=found.loss_sum,
            targets=batch.counted,
            sequences=batch.sequences,
            norm=found.norm,
            rate=self.rate(step),
            finite=found.finite,
            first=found.first,
            batch=batch.hash,
        )

    def _batch_at(self, cursor: int) -> Batch:
        """Return the batch at a cursor, read ahead where the training does so."""
        return self._read(cursor) if self._ahead is None else self._ahead.take(cursor, cursor + self.recipe.train.batch)

    def take(self, state: State) -> StepGradients:
        """Take a whole step at `state`'s cursor without spike detection, with the recipe's clipping.

        The caller must advance the state.
        """
        gradients = self.gradients(state)
        self.update(gradients, clip_limit(self.recipe.optim, state.step))
        return gradients

    def rate(self, step: int) -> float:
        """Return the share of the peak learning rate at a step; the schedule begins at `schedule.start`."""
        start = self.recipe.schedule.start
        return rate_share(self.recipe.schedule, max(1, self.steps - start), max(0, step - start))

    def batch(self, cursor: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets of the step at a cursor, each int64 [batch, context]."""
        recipe = self.recipe
        inputs, targets = training_batch(
            self.tokens, recipe.data.order, recipe.train.seed, recipe.model.context, cursor, recipe.train.batch
        )
        require_ids(inputs, self.model.vocabulary)
        # The other targets are inputs too; ignored targets are negative.
        require_ids(np.maximum(targets[:, -1], 0), self.model.vocabulary)
        return inputs, targets

    def _read(self, cursor: int) -> Batch:
        inputs, targets = self.batch(cursor)
        if self._pages is not None:
            self._pages.expect(*self.pieces(cursor + self.recipe.train.batch))
        return Batch(
            inputs=inputs,
            targets=targets,
            counted=targets_in(targets),
            sequences=sequences_in(targets),
            hash=batch_hash(inputs, targets),
        )

    def pieces(self, cursor: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first position and the end (exclusive) of all that the batch at a cursor reads in the training split."""
        recipe = self.recipe
        context, batch = recipe.model.context, recipe.train.batch
        return training_pieces(self.tokens, recipe.data.order, recipe.train.seed, context, cursor, batch)

    def spans(self, cursor: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first position and the end (exclusive) of each sequence of that batch in the training split, int64 [batch]."""
        recipe = self.recipe
        context, batch = recipe.model.context, recipe.train.batch
        return training_spans(self.tokens, recipe.data.order, recipe.train.seed, context, cursor, batch)


def targets_in(targets: np.ndarray) -> int:
    """Return the number of targets that aren't ignored."""
    return int(np.count_nonzero(targets != IGNORED_TARGET))


def batch_hash(inputs: np.ndarray, targets: np.ndarray) -> str:
    """Return the batch's hash: see `StepGradients.batch`."""
    digest = hashlib.sha256()
    for numbers in (inputs, targets):
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").data)
    return digest.hexdigest()


def chained(chain: str, batch: str) -> str:
    """Return the running hash of all batches, SHA-256(chain + batch); `chain` is empty before the first batch."""
    return hashlib.sha256((chain + batch).encode()).hexdigest()
