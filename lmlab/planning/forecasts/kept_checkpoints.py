"""How many checkpoints a finished run keeps, by its recipe and its duration."""

from __future__ import annotations

from lmlab.recipe import Recipe
from lmlab.recipe.train import Train

SHORT_SECONDS = 600.0
"""Below this, training again is quicker than searching for an older checkpoint."""


def keeps_least(recipe: Recipe, seconds: float) -> bool:
    """Return whether a run keeps only its latest and best checkpoint once it has finished; `seconds` is its total time."""
    train, usual = recipe.train, Train()
    if train.keep_finished != "auto":
        return train.keep_finished == "least"
    return seconds < SHORT_SECONDS and train.keep <= usual.keep and not train.keep_every
