"""What two recipes differ in, as factors: settings that belong together change together. Pure values.

A schedule that spans the whole run changes with its steps, so that a longer run has a longer schedule. The seed is no factor, since
its effect is chance, and neither are settings of evaluation and logging.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from lmlab.recipe import Recipe
from lmlab.recipe.experiment import SECTIONS
from lmlab.recipe.train import PrecisionName
from lmlab.study.grid.design import Factor, Level
from lmlab.study.tune.variants import shortened

GROUPS: Mapping[str, tuple[str, ...]] = {
    "data amount": ("data.tokens",),
    "model size": ("model.layers", "model.heads", "model.kv_heads", "model.width", "model.hidden", "model.vector"),
    "context": ("model.context",),
    "dropout": ("model.dropout",),
    "batch": ("train.batch",),
    "steps": ("train.steps", "train.epochs", "train.patience", "train.minimum_gain"),
    "precision": ("train.precision",),
    "device": ("train.device",),
}
"""Factor -> its settings."""
REST = {"data": "data", "model": "architecture", "optim": "optimizer", "schedule": "schedule", "train": "training"}
"""Section -> the factor of its other settings."""
NO_FACTOR = (
    *("train.seed", "data.corpus", "data.fresh", "train.micro_batch", "train.threads", "train.compile", "train.engine"),
    *(
        "train.rewinds",
        "train.checkpoint_every",
        "train.keep",
        "train.keep_every",
        "train.keep_optimizer",
        "train.keep_finished",
        "train.disk",
    ),
    *("train.background", "train.until", "train.log_every"),
)
"""Settings that are no factors: chance, names, the order of sums, and what is saved and logged."""


def factors_between(one: Recipe, other: Recipe, among: Collection[str] | None = None) -> tuple[Factor, ...]:
    """Return each group of settings in which the recipes differ, as a factor whose level 1 is what `other` has.

    `among` are the dotted names that may be in a factor; None for all. Shortened recipes need it: steps are rounded, so that a
    warm-up or a schedule's length that is equal in the full recipes may differ by one step.
    """
    fields: dict[str, dict[str, Any]] = {}
    for section in SECTIONS[:-1]:
        ours, theirs = getattr(one, section), getattr(other, section)
        # Another kind has its own defaults, so that all of its settings belong together in one factor: one kind's settings
        # mean nothing to the other.
        another = getattr(ours, "kind", None) != getattr(theirs, "kind", None)
        for entry in dataclasses.fields(theirs):
            name = f"{section}.{entry.name}"
            if name in NO_FACTOR or (among is not None and name not in among):
                continue
            value = getattr(theirs, entry.name)
            if another or getattr(ours, entry.name) != value:
                fields.setdefault(REST[section] if another else _group(name), {})[name] = value
    order = [*GROUPS, *REST.values()]
    return tuple(
        Factor(
            name=name, levels=(Level(label="on", settings={key: _plain(value) for key, value in fields[name].items()}),)
        )
        for name in order
        if name in fields
    )


def settings_of(factors: Iterable[Factor]) -> set[str]:
    """Return the dotted names that these factors set."""
    return {name for factor in factors for level in factor.levels for name in level.settings}


def comparable(
    recipe: Recipe, steps: int, precision: PrecisionName, share: float = 1.0, device: str = "auto"
) -> Recipe:
    """Return `recipe` as an endpoint of the interpolation: `share` of its steps, in its run's precision, with few evaluations.

    `steps` are those of its run, from which a length in epochs is replaced.
    """
    train = dataclasses.replace(recipe.train, steps=steps, epochs=None, precision=precision, device=device, until=None)
    schedule: Any = recipe.schedule
    if schedule.steps == steps:
        schedule = dataclasses.replace(schedule, steps=None)
    least = max(1, round(steps * share))
    evaluate = dataclasses.replace(recipe.evaluate, every=max(1, least // 4), prompts=())
    # Between two runs every setting is what one of them had: derived settings are not recomputed.
    ended = dataclasses.replace(recipe, train=train, schedule=schedule, evaluate=evaluate, derived=())
    return ended if share >= 1 else shortened(ended, least, steps, 0)


def _group(name: str) -> str:
    return next((group for group, fields in GROUPS.items() if name in fields), REST[name.partition(".")[0]])


def _plain(value: Any) -> Any:
    """Return a setting as `override` and JSON represent it: None as the word none."""
    return "none" if value is None else value
