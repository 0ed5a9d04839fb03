"""The effect of more steps, alone and under other settings: the first of two endpoints, continued from its last checkpoint.

A model's shape and its context stay as they are, since a checkpoint is bound to them, and so do precision and device, which are
policy. Every continued run warms up again and follows the same schedule over as many steps: only the settings differ.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lmlab.experiment.parent import Parent, parent_of
from lmlab.experiment.record import Record
from lmlab.experiment.start import with_rate
from lmlab.recipe import Recipe, check, override
from lmlab.study.compare.comparing import runs_around
from lmlab.study.compare.pairs import Pair, judge, sides_of
from lmlab.study.grid.design import Factor
from lmlab.study.grid.trainer import Trainer

OWN = "its own settings"
TAKEN = ("dropout", "batch", "optimizer", "schedule", "training")
"""Factors that are tried: shape and context are fixed by the checkpoint, precision and device by this machine's policy."""


@dataclass(frozen=True, kw_only=True)
class Continued:
    """One continued run."""

    label: str
    """The settings that it was continued under."""
    record: Record

    @property
    def loss(self) -> float:
        """The last model's loss over the whole validation split, nats a token."""
        assert self.record.loss is not None
        return self.record.loss

    @property
    def train_loss(self) -> float | None:
        """The last evaluation's loss on a sample of the training split; None without an evaluation."""
        return self.record.evaluations[-1].train_loss if self.record.evaluations else None


@dataclass(frozen=True, kw_only=True)
class Continuations:
    """All continued runs and their effects."""

    parent: Record
    steps: int
    """How many more than the parent had."""
    runs: tuple[Continued, ...]
    """Own settings first, then each factor alone, then all together."""
    effects: tuple[tuple[str, Pair], ...]
    """First that of the steps: own settings against the parent; then of each of the others, against own settings."""
    among: tuple[str, ...]
    """Ids of the finished runs from which the seed noise was estimated."""
    left_out: tuple[str, ...]
    """Factors that aren't tried."""

    def lines(self) -> list[str]:
        """Return the results as lines of text."""
        found = [f"{self.parent.name} ({self.parent.loss:.4f}) continued for {self.steps:,} more steps:"]
        for run, (what, pair) in zip(self.runs, self.effects, strict=True):
            found.append(f"  under {run.label}: {run.loss:.4f}; {what} {_said(pair)}")
        if self.left_out:
            found.append(f"  not tried: another {', '.join(self.left_out)}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the value for explain.json."""
        return {
            "parent": {"name": self.parent.name, "id": self.parent.id, "loss": self.parent.loss},
            "steps": self.steps,
            "runs": [
                {
                    "label": run.label,
                    "name": run.record.name,
                    "id": run.record.id,
                    "loss": run.loss,
                    "train_loss": run.train_loss,
                }
                for run in self.runs
            ],
            "among": list(self.among),
            "effects": [{"of": what, **pair.to_json()} for what, pair in self.effects],
            "left_out": list(self.left_out),
        }


def continuations(parent: Record, name: str, factors: tuple[Factor, ...], more: int, trainer: Trainer) -> Continuations:
    """Continue `parent` for `more` steps under its own settings, under each tried factor's, and under all of these.

    The runs are ordinary ones, called NAME-on-...; those that exist are kept. Raises Interrupted where a signal stopped one.
    """
    point = parent_of(f"{parent.run.folder}@latest", trainer.runs)
    recipes = continued_recipes(point, factors, more, name)
    made = [Continued(label=label, record=trainer.train(recipe, point)) for label, recipe in recipes.items()]
    there = [record for record in runs_around([parent]) if record.final is not None]
    return Continuations(
        parent=parent,
        steps=more,
        runs=tuple(made),
        effects=effects_among(parent, made, there),
        among=tuple(sorted(record.id for record in there)),
        left_out=tuple(factor.name for factor in factors if factor.name not in TAKEN and factor.name != "steps"),
    )


def continued_recipes(point: Parent, factors: tuple[Factor, ...], more: int, name: str) -> dict[str, Recipe]:
    """Return the recipes by label: own settings, each tried factor's, and all of these. LabError where one of them is not a valid
    recipe."""
    taken = tuple(factor for factor in factors if factor.name in TAKEN)
    arms = [(OWN, "own", ()), *((factor.name, factor.name.replace(" ", "-"), (factor,)) for factor in taken)]
    if len(taken) > 1:
        arms.append((" + ".join(factor.name for factor in taken), "all", taken))
    return {label: continued_recipe(point, changed, more, f"{name}-on-{slug}") for label, slug, changed in arms}


def continued_recipe(point: Parent, changed: tuple[Factor, ...], more: int, name: str) -> Recipe:
    """Return the parent's recipe under the settings of some factors, for `more` steps beyond the checkpoint, with a new warm-up."""
    settings: dict[str, Any] = {}
    for factor in changed:
        settings.update(factor.levels[0].settings)
    own = point.recipe
    recipe = override(dataclasses.replace(own, name=name, about="", claims=()), settings)
    evaluate = dataclasses.replace(recipe.evaluate, every=max(1, more // 4), prompts=())
    recipe = dataclasses.replace(recipe, evaluate=evaluate)
    # A batch of another size reads another stream, in which steps count from 0.
    first = point.step if recipe.train.batch == own.train.batch else 0
    longer = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, steps=first + more, epochs=None))
    return check(with_rate(longer, point, "rewarm"))


def effects_among(parent: Record, made: list[Continued], there: list[Record]) -> tuple[tuple[str, Pair], ...]:
    """Return the effect of the steps, and of each other setting beside them."""
    own = made[0]
    pairs = [(f"{own.record.step - parent.step:,} steps", _pair(own.record, parent, there))]
    return (*pairs, *((run.label, _pair(run.record, own.record, there)) for run in made[1:]))


def _pair(one: Record, other: Record, there: list[Record]) -> Pair:
    first, second = sides_of({one.name: one, other.name: other}, there, alone=True)
    return judge(first, second, there)


def _said(pair: Pair) -> str:
    if pair.verdict is None:
        return pair.withheld
    found = pair.verdict
    return f"{found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f}), {found.kind}"
