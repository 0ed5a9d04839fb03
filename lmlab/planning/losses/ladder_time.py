"""The duration of `lmlab plan --ladder`, which gives a loss where nothing else does."""

from __future__ import annotations

from lmlab.model.families import family_of
from lmlab.planning.losses.ladder import rungs_of
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import duration

START_SECONDS = 4.0
"""Per training: the model is built and the whole validation split is scored."""
NARROW = 1.5
"""The factor by which a narrow model's operations are slower than a wide one's: 25 s were measured for a run of 66 s."""


def ladder_seconds(recipe: Recipe, vocabulary: int, steps: int, train_seconds: float) -> float | None:
    """Return the approximate seconds of a training's ladder; None for a model that has none."""
    if not family_of(recipe.model).resizes:
        return None
    rungs = rungs_of(recipe, vocabulary, steps)
    return len(rungs) * START_SECONDS + NARROW * sum(rung.share for rung in rungs) * train_seconds


def unknown_loss(seconds: float | None) -> str:
    """Return the message for a loss that can't be forecast, with the command that would give it."""
    if seconds is None:
        return "the loss can't be forecast: no run like this one is known"
    return (
        "the loss can't be forecast: no run like this one is known; lmlab plan with the same settings and --ladder forecasts it, "
        f"in about {duration(seconds)}"
    )
