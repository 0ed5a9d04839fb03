"""The duration of a whole run at a speed: start, training, its evaluations, and the whole split at the end."""

from __future__ import annotations

from lmlab.planning.combine import quotient
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Estimate, exact
from lmlab.training.evaluating import TRAINING_STEP_IN_FORWARDS, plan_evaluations

START_SECONDS = 5.0
"""Imports, the forecast's steps, and closing."""
FORWARD_SHARE = 1 / TRAINING_STEP_IN_FORWARDS
"""The FLOPs of a forward pass relative to a training step."""


def run_seconds(
    recipe: Recipe, steps: int, tokens: int, speed: Estimate, train_tokens: int, valid_tokens: int
) -> Estimate:
    """Return the seconds of `steps` steps over `tokens` at a `speed` in tokens a second of training, given the tokens of both
    splits.

    Tokens are targets that count, and the speed is in those.
    """
    plan = plan_evaluations(recipe, steps, valid_tokens, train_tokens)
    scored = plan.tokens_in_all(steps, recipe.evaluate.every) * FORWARD_SHARE
    seconds = quotient(exact(tokens + scored), speed)
    return seconds.shifted(START_SECONDS)
