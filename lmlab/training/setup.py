"""Construction of a training's model, optimizer, step and state, shared by runs, trials, probes, searches and ranks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmlab.checkpoint.opened import Checkpoint
from lmlab.data.dataset import Dataset
from lmlab.data.fresh import TrainingTokens
from lmlab.data.windows import split_windows
from lmlab.evaluation.losses import Scoring
from lmlab.model.adapters import attach_adapters
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.model.trainable import TrainableModel
from lmlab.optim.build import TrainingOptimizer, optimizer_of
from lmlab.recipe import Recipe
from lmlab.training import parallel
from lmlab.training.exchange import Exchange
from lmlab.training.parts import fill, whole
from lmlab.training.policy import Policy, apply_policy
from lmlab.training.saving import restore_training, restore_weights
from lmlab.training.state import State, read_state
from lmlab.training.step import StepGradients, TrainingStep


@dataclass(kw_only=True)
class Training:
    """A training at one of its steps."""

    step: TrainingStep
    state: State

    @property
    def recipe(self) -> Recipe:
        """The recipe of the training."""
        return self.step.recipe

    @property
    def model(self) -> TrainableModel:
        """The model, on the policy's device."""
        return self.step.model

    @property
    def optimizer(self) -> TrainingOptimizer:
        """The model's optimizer."""
        return self.step.optimizer

    def take(self) -> StepGradients:
        """Take one step without a guard, and advance the state's step and cursor."""
        gradients = self.step.take(self.state)
        self.state.step += 1
        self.state.cursor += self.recipe.train.batch
        return gradients

    def restore(self, checkpoint: Checkpoint) -> tuple[State, dict[str, int]]:
        """Load a checkpoint's weights and optimizer state; return its state and the lengths of the journals.

        `self.state` doesn't change. LabError if the checkpoint has weights only, or is of another model. Where each rank has a part
        of the tensors, only the state is returned, and `send_state` loads them.
        """
        if self._in_parts:
            return read_state(checkpoint.state)
        restored = restore_training(checkpoint, self.model, self.optimizer, self.step.scaler)
        self.step.weights_changed()
        return restored

    def restore_weights(self, checkpoint: Checkpoint) -> None:
        """Load only a checkpoint's weights, to score them. LabError if it is of another model."""
        restore_weights(checkpoint, self.model)
        self.step.weights_changed()

    def begin_from(self, checkpoint: Checkpoint) -> None:
        """Load only a checkpoint's weights, for a training that begins from them. LabError if it is of another model."""
        self.restore_weights(checkpoint)
        if self.optimizer.adapters is not None:
            self.optimizer.adapters.begin()

    def distribute(self) -> Exchange:
        """Train together with the other ranks from here on; weights and optimizer state become rank 0's."""
        parallel.broadcast(self.tensors())
        if self.step.policy.sharded:
            before = self.optimizer.state_tensors()
            exchange = self.step.shard()
            fill(self.optimizer.state_tensors(), before)
        else:
            exchange = self.step.distribute()
            self.optimizer.divide(exchange)
        return exchange

    @property
    def _in_parts(self) -> bool:
        """Whether each rank has a part of the tensors."""
        return self.step.exchange is not None and self.step.exchange.lockstep

    def gather(self) -> None:
        """Take part in gathering all tensors where rank 0 saves them."""
        if self._in_parts:
            for tensor in self.tensors():
                whole(tensor)

    def share_weights(self, checkpoint: Checkpoint | None) -> bool:
        """Load the checkpoint of rank 0 on all ranks, if it has one, and return whether it has; weights only."""
        exchange = self.step.exchange
        if checkpoint is not None and not self._in_parts:
            self.restore_weights(checkpoint)
        if exchange is None:
            return checkpoint is not None
        found = exchange.any(checkpoint is not None)
        if found and self._in_parts:
            fill(self.model.state_dict(), None if checkpoint is None else checkpoint.tensors("weights"))
        elif found:
            parallel.broadcast(self.model.state_dict().values())
        return found

    def send_state(self, state: State, checkpoint: Checkpoint) -> None:
        """Send the restored state of `checkpoint`, weights and optimizer state from rank 0 to the other ranks."""
        parallel.broadcast_json(state.to_json({}))
        self._share_all(checkpoint)

    def receive_state(self) -> State:
        """Receive what rank 0 sends with `send_state`; return the state."""
        state, _ = read_state(parallel.broadcast_json())
        self._share_all(None)
        scaler = self.step.scaler
        if scaler is not None and state.scale is not None:
            scaler.scale, scaler.clean_steps = state.scale, state.clean_steps
        return state

    def _share_all(self, checkpoint: Checkpoint | None) -> None:
        if not self._in_parts:
            parallel.broadcast(self.tensors())
            return
        fill(self.model.state_dict(), None if checkpoint is None else checkpoint.tensors("weights"))
        fill(self.optimizer.state_tensors(), None if checkpoint is None else checkpoint.tensors("optimizer"))

    def tensors(self) -> list[Tensor]:
        """Return all tensors that a checkpoint saves: the weights and the optimizer's state."""
        return [*self.model.state_dict().values(), *self.optimizer.state_tensors().values()]

    @property
    def nbytes(self) -> int:
        """Bytes of these tensors."""
        return sum(tensor.nbytes for tensor in self.tensors())

    def scoring(self, dataset: Dataset) -> Scoring:
        """Return the `Scoring` of this training's model on a data set, with the device, precision and engine of its steps."""
        policy, recipe = self.step.policy, self.recipe
        return Scoring(
            model=self.model,
            text=dataset,
            context=recipe.model.context,
            device=policy.torch_device,
            autocast=policy.autocast_dtype,
            engine=self.step.engine,
            documents=lambda split: split_windows(recipe, dataset, split),
            share=self.step.exchange,
        )


def set_up(
    recipe: Recipe,
    policy: Policy,
    tokens: TrainingTokens,
    vocabulary: int,
    steps: int,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Return a training of `steps` steps over `tokens`, at step 0 with weights from the recipe's seed, or at a checkpoint of it.

    The policy is applied to the process. LabError if the checkpoint has weights only, or is of another model.
    """
    apply_policy(policy)
    model, optimizer = model_and_optimizer(recipe, policy, vocabulary, drawn=checkpoint is None)
    step = TrainingStep(recipe, policy, model, optimizer, tokens, steps)
    training = Training(step=step, state=State(scale=None if step.scaler is None else step.scaler.scale))
    if checkpoint is not None:
        training.state, _ = training.restore(checkpoint)
    return training


def model_and_optimizer(
    recipe: Recipe, policy: Policy, vocabulary: int, *, drawn: bool
) -> tuple[TrainableModel, TrainingOptimizer]:
    """Return the recipe's model on the policy's device, and its optimizer.

    If `drawn` is False the weights are uninitialised, for a caller that loads them.
    """
    model = build_model(recipe.model, vocabulary)
    if drawn:
        initialise(model, recipe.train.seed, recipe.optim.transfer_from)
    # A model that will be sharded goes to its device in parts, and so does its optimizer's state.
    device = torch.device("cpu") if policy.sharded else policy.torch_device
    model.to(device)
    adapters = attach_adapters(model, recipe)
    return model, optimizer_of(model, recipe, device.type, policy.update_products, adapters)
