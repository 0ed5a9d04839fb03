"""How many optimizer steps a training has: as many as its recipe says, or as its epochs come to."""

from __future__ import annotations

import math

from lmlab import LabError
from lmlab.data.fresh import TrainingTokens, sequences_an_epoch
from lmlab.recipe import Recipe
from lmlab.recipe.train import MOST_STEPS


def steps_of(recipe: Recipe, training: TrainingTokens) -> int:
    """The optimizer steps of a run of `recipe` over these tokens."""
    return planned_steps(recipe, sequences_an_epoch(training, recipe.data.order, recipe.model.context))


def planned_steps(recipe: Recipe, sequences: int) -> int:
    """train.steps, or what train.epochs comes to over epochs of so many sequences; LabError where that is beyond all bounds."""
    if recipe.train.epochs is None:
        return recipe.train.steps
    steps = max(1, math.floor(recipe.train.epochs * sequences / recipe.train.batch))
    if steps > MOST_STEPS:
        raise LabError(
            f"train.epochs {recipe.train.epochs:g} comes to {steps:,} steps: expected at most {MOST_STEPS:,}"
        )
    return steps
