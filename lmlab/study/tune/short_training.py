"""One short training and its validation loss; nothing is written to disk."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from lmlab.data.reading import scored_targets
from lmlab.evaluation.losses import EvaluationStopped, evaluate_sample
from lmlab.experiment.outline import Outline
from lmlab.recipe import Recipe
from lmlab.recipe.divisors import nearest_divisor
from lmlab.scaling.noise import GradientNoise
from lmlab.training.evaluating import FEWEST_WINDOWS, TRAINING_STEP_IN_FORWARDS
from lmlab.training.setup import set_up
from lmlab.training.signals import Interrupted
from lmlab.training.step import StepGradients

EVALUATION_SHARE = 0.2
"""The share of the training's FLOPs that the evaluation at its end may take."""
PARTS = 4
"""Micro-batches in a batch where its gradient noise is measured."""


@dataclass(frozen=True, kw_only=True)
class ShortResult:
    """The result of a short training."""

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
    progress: Callable[[StepGradients], None],
    measure_noise: bool = False,
) -> ShortResult:
    """Train `recipe` from its seed for `train.steps` steps and score it.

    `outline` has the policy, data and tokens. `stopping` is called at every step; where it returns True, Interrupted is raised. For
    `measure_noise` the batch is computed in several parts.
    """
    began = time.perf_counter()
    policy, dataset, batch = outline.policy, outline.dataset, recipe.train.batch
    if measure_noise and policy.micro_batch >= batch > 1:
        policy = dataclasses.replace(policy, micro_batch=nearest_divisor(batch, max(1, batch // PARTS)))
    training = set_up(recipe, policy, outline.training, dataset.vocabulary_size, recipe.train.steps)
    noise, scaler = training.state.noise, training.step.scaler
    for _ in range(recipe.train.steps):
        if stopping():
            raise Interrupted
        gradients = training.take()
        if not gradients.finite and (scaler is None or scaler.exhausted):
            return ShortResult(loss=math.inf, error=0.0, seconds=time.perf_counter() - began, noise=noise)
        if gradients.finite and gradients.first is not None:
            noise.add(gradients.first.norm, gradients.first.sequences, gradients.norm, gradients.sequences)
        progress(gradients)
    wanted = evaluation_tokens(recipe, scored_targets(recipe, dataset, "valid"))
    try:
        scores = evaluate_sample(training.scoring(dataset), "valid", wanted, stop=stopping)
    except EvaluationStopped:
        raise Interrupted from None
    loss = scores.loss if math.isfinite(scores.loss) else math.inf
    return ShortResult(loss=loss, error=scores.standard_error, seconds=time.perf_counter() - began, noise=noise)


def evaluation_tokens(recipe: Recipe, valid_tokens: int) -> int:
    """Return how many validation tokens are scored after a short training: the same for every one of its length."""
    context = recipe.model.context
    forwards = recipe.train.steps * recipe.train.batch * context * TRAINING_STEP_IN_FORWARDS
    return min(valid_tokens, max(FEWEST_WINDOWS * context, int(EVALUATION_SHARE * forwards)))
