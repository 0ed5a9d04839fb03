"""How many checkpoints a finished run keeps: a rule of its recipe and of how long it took."""

from __future__ import annotations

from lmlab.recipe import Recipe
from lmlab.recipe.train import Train

SHORT_SECONDS = 600.0
"""Below this a run is trained again sooner than anyone looks for an older checkpoint of it."""


def keeps_least(recipe: Recipe, seconds: float) -> bool:
    """Whether a run keeps only its latest and best checkpoint once it has finished, `seconds` being all that it took."""
    train, usual = recipe.train, Train()
    if train.keep_finished != "auto":
        return train.keep_finished == "least"
    return seconds < SHORT_SECONDS and train.keep <= usual.keep and not train.keep_every
