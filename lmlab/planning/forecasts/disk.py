"""How much disk the checkpoints of a run occupy, while it trains and at its end."""

from __future__ import annotations

import math

from lmlab.recipe import Recipe
from lmlab.recipe.quantities import bytes_in
from lmlab.recipe.train import Train
from lmlab.scaling.estimate import Estimate
from lmlab.training.length import times_in

SAVES_ON_DISK = 2
"""The first and the best checkpoint are kept besides the latest ones."""


SAVES_FOR_REWINDS = 4
"""Rewinds also keep two checkpoints to return to and the best model of each."""

SHORT_SECONDS = 600.0
"""Below this, training again is quicker than searching for an older checkpoint."""


def disk_bytes(recipe: Recipe, steps: int, first_step: int, checkpoint_bytes: int, weight_bytes: int) -> int:
    """Return the maximum size of a run's checkpoints, including one that is being written."""
    train = recipe.train
    whole = train.keep + 1
    older = SAVES_ON_DISK + (SAVES_FOR_REWINDS if train.on_spike == "rewind" else 0)
    if train.keep_every:
        span = math.lcm(train.keep_every, train.checkpoint_every)
        older += max(0, steps // span - first_step // span - train.keep)
    total = checkpoint_bytes * whole + older * (weight_bytes if train.keep_optimizer == "latest" else checkpoint_bytes)
    return total if train.disk is None else min(total, bytes_in(train.disk))


def kept_bytes(
    recipe: Recipe,
    steps: int,
    first_step: int,
    at_most: int,
    checkpoint_bytes: int,
    seconds: float,
    weight_bytes: int,
) -> Estimate:
    """Return the size of the checkpoints at the end: none is being written, and the best may be one of the latest."""
    if keeps_least(recipe, seconds):
        first = weight_bytes if first_step else 0  # of a branch; step 0 is kept as its seed
        least, most = checkpoint_bytes + first, 2 * checkpoint_bytes + first
        rests_on = f"the latest and the best of a run of less than {SHORT_SECONDS / 60:.0f} minutes"
    else:
        made = times_in(max(1, steps - first_step), recipe.train.checkpoint_every) * checkpoint_bytes
        most, least = min(made, at_most - checkpoint_bytes), min(made, at_most - 2 * checkpoint_bytes)
        rests_on = f"train.keep {recipe.train.keep}, the first checkpoint and the best"
    return Estimate(value=least, low=0.98 * least, high=1.02 * most, evidence="formula", rests_on=rests_on)


def keeps_least(recipe: Recipe, seconds: float) -> bool:
    """Return whether a run keeps only its latest and best checkpoint once it has finished; `seconds` is its total time."""
    train, usual = recipe.train, Train()
    if train.keep_finished != "auto":
        return train.keep_finished == "least"
    return seconds < SHORT_SECONDS and train.keep <= usual.keep and not train.keep_every
