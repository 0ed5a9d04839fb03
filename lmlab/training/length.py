"""The number of optimizer steps of a training: the recipe's `train.steps`, or those of its `train.epochs`."""

from __future__ import annotations

import math
from dataclasses import replace

from lmlab import LabError
from lmlab.data.fresh import TrainingTokens, sequences_an_epoch
from lmlab.recipe import Recipe
from lmlab.recipe.train import MOST_STEPS


def steps_of(recipe: Recipe, training: TrainingTokens) -> int:
    """Return the number of optimizer steps of a run of `recipe` over these tokens."""
    return planned_steps(recipe, sequences_an_epoch(training, recipe.data.order, recipe.model.context))


def with_planned_length(recipe: Recipe, sequences: int) -> Recipe:
    """Return `recipe` with the steps of its train.epochs epochs, each of `sequences` sequences, in their place."""
    if recipe.train.epochs is None:
        return recipe
    steps = planned_steps(recipe, sequences)
    return replace(recipe, train=replace(recipe.train, steps=steps, epochs=None))


def planned_steps(recipe: Recipe, sequences: int) -> int:
    """Return train.steps, or the steps of train.epochs epochs of `sequences` sequences each. LabError if they exceed MOST_STEPS."""
    if recipe.train.epochs is None:
        return recipe.train.steps
    steps = max(1, math.floor(recipe.train.epochs * sequences / recipe.train.batch))
    if steps > MOST_STEPS:
        raise LabError(
            f"train.epochs {recipe.train.epochs:g} comes to {steps:,} steps: expected at most {MOST_STEPS:,}"
        )
    return steps


def times_in(steps: int, every: int) -> int:
    """Return how often a run of `steps` steps evaluates or saves: at step 0, each multiple of `every`, and the end."""
    return 1 + -(-steps // every)
