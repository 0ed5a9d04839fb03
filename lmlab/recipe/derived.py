"""Settings that lmlab derived from others, and derives again when those change.

`Recipe.derived` names them. Settings made by a person or a recipe's author are never among them: they are kept, and `check` refuses
impossible combinations. The rules, each from the recipe before a change and the recipe after it:

    train.steps                                              keeps the tokens: steps x train.batch x model.context
    schedule.warmup, evaluate.every, train.checkpoint_every  keep their share of train.steps
    optim.lr (adamw), optim.adam_lr (muon)                   x sqrt(train.batch ratio) / model.width ratio (`adam_factor`)

Other names in the list have no rule: they were chosen for a text, and are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmlab.recipe.data import Data
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.override import override

SHARES_OF_STEPS = ("schedule.warmup", "evaluate.every", "train.checkpoint_every")
"""Settings that are a share of train.steps."""
ADAM_RATES = {"adamw": "optim.lr", "muon": "optim.adam_lr"}
"""Adam's learning rate, by optim.kind."""
RULES = ("train.steps", *SHARES_OF_STEPS, *ADAM_RATES.values())


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return `recipe` with `settings` by dotted name, and its derived settings derived again; raises LabError as `override` does.

    Names in `settings` are removed from the derived ones. A setting of the recipe that only its own data.split reads
    (data.valid_documents) goes back to its default where another split is asked for.
    """
    settings = {**_of_another_split(recipe, settings), **settings}
    changed = override(recipe, settings)
    kept = tuple(name for name in recipe.derived if name not in settings and _value(changed, name) is not None)
    for name in RULES:  # steps first, since others are shares of them
        if name in kept and _value(changed, name) == _value(recipe, name):
            changed = override(changed, {name: _derived_value(name, recipe, changed)})
    return replace(changed, derived=kept)


def _of_another_split(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default of data.valid_documents where `settings` leave the split that reads it; else nothing."""
    if recipe.data.split != "first" or settings.get("data.split", "first") == "first":
        return {}
    return {"data.valid_documents": Data().valid_documents}


def notes(recipe: Recipe, changed: Recipe, settings: Mapping[str, Any]) -> list[str]:
    """Return a line for each change to settings not in `settings` that `with_settings(recipe, settings)`, the result being
    `changed`, made.
    """
    rederived = [
        f"{name} {_shown(_value(changed, name))} (was {_shown(_value(recipe, name))})"
        for name in changed.derived
        if _value(changed, name) != _value(recipe, name)
    ]
    lines = [f"derived again from {_causes(recipe, changed, settings)}: {', '.join(rederived)}"] if rederived else []
    fixed = changed.schedule.steps
    steps_changed = "train.steps" in settings and "schedule.steps" not in settings
    if steps_changed and fixed is not None and fixed != changed.train.steps and changed.train.epochs is None:
        what = "is at its floor from there on" if fixed < changed.train.steps else "does not reach its floor"
        lines.append(
            f"schedule.steps stays {fixed:,}, as the recipe sets it, with train.steps {changed.train.steps:,}: the learning rate "
            f"{what} (--schedule.steps none: the schedule spans train.steps)"
        )
    return lines


def adam_factor(recipe: Recipe, width: int, batch: int) -> float:
    """Return the factor by which Adam's learning rate, tuned for `recipe`, changes with another model.width and train.batch.

    sqrt(batch ratio), Adam's square-root rule (arXiv 2205.10287), and 1 / (width ratio), muP's rule for matrices (arXiv 2203.03466,
    table 3); each is left out if the optimizer applies it itself (`optim.batch_from`, `optim.transfer_from`).
    """
    narrower = 1.0 if recipe.optim.transfer_from else recipe.model.width / width
    return narrower * (1.0 if recipe.optim.batch_from else math.sqrt(batch / recipe.train.batch))


def rounded_rate(rate: float) -> float:
    """Return the rate rounded to two digits, the precision of a derived rate."""
    return float(f"{rate:.2g}")


def _derived_value(name: str, before: Recipe, after: Recipe) -> Any:
    own = _value(before, name)
    if name == "train.steps":
        tokens = own * before.train.batch * before.model.context
        same = (before.train.batch, before.model.context) == (after.train.batch, after.model.context)
        return own if same else max(1, round(tokens / (after.train.batch * after.model.context)))
    if name in SHARES_OF_STEPS:
        return _share(name, own, before.train.steps, after.train.steps)
    factor = adam_factor(before, after.model.width, after.train.batch)
    own_rule = before.optim.kind == after.optim.kind and ADAM_RATES[after.optim.kind] == name
    return rounded_rate(own * factor) if own_rule and factor != 1.0 else own


def _share(name: str, own: int, before: int, after: int) -> int:
    if before == after:
        return own
    least = 0 if name == "schedule.warmup" else 1
    return min(after, max(least, round(own * after / before)))


def _value(recipe: Recipe, name: str) -> Any:
    """Return the setting's value; None if the recipe's kinds have no such setting."""
    section, _, field = name.partition(".")
    return getattr(getattr(recipe, section, None), field, None)


def _causes(recipe: Recipe, changed: Recipe, settings: Mapping[str, Any]) -> str:
    """Return the changed settings that derived ones depend on, as text."""
    of = ("train.steps", "train.batch", "model.context", "model.width")
    found = [name for name in of if name in settings and _value(recipe, name) != _value(changed, name)]
    return ", ".join(f"{name} {_shown(_value(changed, name))}" for name in found)


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
