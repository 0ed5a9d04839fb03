"""Recipes derived from another: with other rates, shorter, narrower, and with the rate that was found."""

from __future__ import annotations

import dataclasses
from typing import Any

from lmlab.model.families import family_of
from lmlab.recipe import Recipe, check

RATES = ("lr", "adam_lr", "table_lr")


def with_rate(recipe: Recipe, factor: float) -> Recipe:
    """Multiply every learning rate by `factor`: Muon's and those of the parameters that it leaves to AdamW keep their ratio."""
    optim: Any = recipe.optim
    rates = {name: getattr(optim, name) for name in RATES if getattr(optim, name, None) is not None}
    scaled = {name: rate * factor for name, rate in rates.items()}
    return dataclasses.replace(recipe, optim=dataclasses.replace(optim, **scaled))


def shortened(recipe: Recipe, steps: int, of: int, seed: int) -> Recipe:
    """Return `recipe`, which has `of` steps, in `steps` of them with its schedule compressed; `seed` is added to its own."""
    share, schedule = steps / of, recipe.schedule
    changed: Any = schedule
    warmup = min(round(schedule.warmup * share), steps)
    spanned = schedule.steps
    changes: dict[str, int] = {"warmup": warmup, "start": 0}
    if spanned is not None:
        changes["steps"] = max(1, warmup, round(spanned * share))
    return dataclasses.replace(
        recipe,
        schedule=dataclasses.replace(changed, **changes),
        train=dataclasses.replace(recipe.train, steps=steps, epochs=None, seed=recipe.train.seed + seed),
    )


def narrowed(recipe: Recipe) -> Recipe:
    """Return a narrower model of the same depth; LabError where there is none. A GPT gets fewer heads of the same width.

    The transfer rule is applied downwards: the small model starts and learns like this one, except for its width. So a rate
    that is best for it is one for `recipe` as it is, whose initial values keep their scale.
    """
    model = recipe.model
    small, size = family_of(model).narrowed(model)
    optim = dataclasses.replace(recipe.optim, transfer_from=recipe.optim.transfer_from or size)
    return check(dataclasses.replace(recipe, model=small, optim=optim))


def tuned(recipe: Recipe, factor: float) -> Recipe:
    """Return `recipe` with the rate that was found, which is `factor` times its own."""
    found = with_rate(recipe, factor)
    rates = {name: float(f"{getattr(found.optim, name):.2g}") for name in RATES if getattr(found.optim, name, None)}
    optim: Any = found.optim
    measured = [f"optim.{name}" for name in rates]
    return dataclasses.replace(
        found,
        name=f"{recipe.name}-tuned",
        about=f"{recipe.about or recipe.name}, learning rate tuned",
        optim=dataclasses.replace(optim, **rates),
        claims=(),
        derived=tuple(name for name in recipe.derived if name not in measured),
    )
