"""A recipe for another shape and length, with the steps, batch, rates, schedule, evaluations and checkpoints that follow."""

from __future__ import annotations

import dataclasses
import math

from lmlab.planning.inverse.learning_rates import Tuned
from lmlab.planning.texts.memorisation import against_memorisation
from lmlab.recipe import Recipe, override
from lmlab.recipe.derived import RULES
from lmlab.recipe.schedule import has_span

MOST_EVALUATIONS = 100
"""Per run, and as many checkpoints: a recipe for a short text may have one every few steps."""


def own_tokens(recipe: Recipe, unique_tokens: float, counted: float = 1.0) -> float:
    """Return the tokens that a recipe trains on; the training split has `unique_tokens`, and a share `counted` of positions a
    target."""
    train, step_tokens = recipe.train, counted * recipe.train.batch * recipe.model.context
    return (
        max(1.0, train.steps) * step_tokens if train.epochs is None else max(step_tokens, train.epochs * unique_tokens)
    )


def evaluations_of(tuned: Tuned) -> float:
    """Return the number of evaluations of a recipe during training, which a change of length keeps."""
    recipe = tuned.recipe
    steps = tuned.tokens / (recipe.train.batch * tuned.sequence_tokens)
    return min(MOST_EVALUATIONS, steps / recipe.evaluate.every) + 1


def lengthened(tuned: Tuned, shape: Recipe, parameters: int, tokens: float, unique_tokens: float) -> Recipe:
    """Return the recipe of `tuned` with the model of `shape`, which has `parameters`, for training on `tokens`.

    Steps are rounded down. Warm-up, evaluations and checkpoints keep their share of the steps, and a schedule spans all of them.
    The settings that follow from shape and length are marked as derived. Claims are removed: numbers published for a recipe don't
    apply to another one. So are `train.until`, since the budget determines the length, and `data.fresh`, since another model starts
    from scratch.
    """
    base, sequence = tuned.recipe, tuned.sequence_tokens
    batch = tuned.batch(parameters, tokens)
    steps = max(1, int(tokens / (batch * sequence)))
    longer = steps / (tuned.tokens / (base.train.batch * sequence))
    least = -(-steps // MOST_EVALUATIONS)
    changes: dict[str, object] = {
        "train.steps": steps,
        "train.epochs": None,
        "train.until": None,
        "data.fresh": False,
        "train.batch": batch,
        "train.checkpoint_every": max(least, round(base.train.checkpoint_every * longer)),
        "evaluate.every": max(least, round(base.evaluate.every * longer)),
        "schedule.warmup": min(steps, round(base.schedule.warmup * longer)),
        "schedule.start": 0,
    }
    if base.train.micro_batch is not None and batch % base.train.micro_batch:
        changes["train.micro_batch"] = math.gcd(base.train.micro_batch, batch)
    if has_span(base.schedule):
        changes["schedule.steps"] = None
    changes |= tuned.rates(shape.model.width, batch, parameters, tokens)
    changes |= against_memorisation(base, tokens / unique_tokens, parameters / unique_tokens)
    found = override(shape, changes)
    derived = tuple(name for name in RULES if name in changes or name in base.derived)
    return dataclasses.replace(found, claims=(), published_vocabulary=None, derived=derived)
