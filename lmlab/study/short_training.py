"""One short training and its validation loss; nothing of it is written."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from lmlab.data.reading import scored_targets
from lmlab.data.windows import split_windows
from lmlab.evaluation import EvaluationStopped, evaluate_sample
from lmlab.experiment.beginning import Outline
from lmlab.model import build_model, initialise
from lmlab.optim import optimizer_of
from lmlab.recipe import Recipe
from lmlab.recipe.check import nearest_divisor
from lmlab.scaling.noise import GradientNoise
from lmlab.training.evaluating import FEWEST_WINDOWS, TRAINING_STEP_IN_FORWARDS
from lmlab.training.signals import Interrupted
from lmlab.training.state import State
from lmlab.training.step import StepResult, TrainingStep

EVALUATION_SHARE = 0.2
"""Of the training's arithmetic, that the evaluation at its end may take."""
PARTS = 4
"""Micro-batches of a batch where its noise is measured."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a short training came to."""

    loss: float
    """Nats a token on a fixed sample of the validation split; infinite where the training diverged."""
    error: float
    """Its standard error over units of text: common to all trainings that are scored on the same text."""
    seconds: float
    noise: GradientNoise


def train_briefly(
    recipe: Recipe,
    outline: Outline,
    stopping: Callable[[], bool],
    progress: Callable[[StepResult], None],
    measure_noise: bool = False,
) -> Outcome:
    """Train `recipe` from its seed for `train.steps` steps and score it.

    `outline` has the policy, data and tokens. `stopping` is asked at every step: where it says so, Interrupted is raised. To
    `measure_noise` the batch is computed in several parts.
    """
    began = time.perf_counter()
    policy, dataset, batch = outline.policy, outline.dataset, recipe.train.batch
    if measure_noise and policy.micro_batch >= batch > 1:
        policy = dataclasses.replace(policy, micro_batch=nearest_divisor(batch, max(1, batch // PARTS)))
    model = build_model(recipe.model, dataset.vocabulary_size)
    initialise(model, recipe.train.seed, recipe.optim.transfer_from)
    model.to(policy.torch_device)
    optimizer = optimizer_of(model, recipe, policy.torch_device.type)
    step = TrainingStep(recipe, policy, model, optimizer, outline.training, recipe.train.steps)
    state = State(scale=step.scaler.scale if step.scaler is not None else None)
    for _ in range(recipe.train.steps):
        if stopping():
            raise Interrupted
        result = step.take(state)
        if not result.finite and (step.scaler is None or step.scaler.exhausted):
            return Outcome(loss=math.inf, error=0.0, seconds=time.perf_counter() - began, noise=state.noise)
        if result.updated and result.first is not None:
            state.noise.add(result.first.norm, result.first.sequences, result.gradient_norm, result.sequences)
        state.step += 1
        state.cursor += batch
        progress(result)
    try:
        scores = evaluate_sample(
            model,
            dataset,
            "valid",
            recipe.model.context,
            evaluation_tokens(recipe, scored_targets(recipe, dataset, "valid")),
            device=policy.torch_device,
            autocast=policy.autocast_dtype,
            stop=stopping,
            engine=step.engine,
            documents=split_windows(recipe, dataset, "valid"),
        )
    except EvaluationStopped:
        raise Interrupted from None
    loss = scores.loss if math.isfinite(scores.loss) else math.inf
    return Outcome(loss=loss, error=scores.standard_error, seconds=time.perf_counter() - began, noise=state.noise)


def evaluation_tokens(recipe: Recipe, valid_tokens: int) -> int:
    """Validation tokens that are scored after a short training: the same for every one of its length."""
    context = recipe.model.context
    forwards = recipe.train.steps * recipe.train.batch * context * TRAINING_STEP_IN_FORWARDS
    return min(valid_tokens, max(FEWEST_WINDOWS * context, int(EVALUATION_SHARE * forwards)))
