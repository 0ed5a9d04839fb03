"""The result of a task: accuracies with their uncertainty, the baselines, and the differences that so many items can show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.tasks.item import Item
from lmlab.evaluation.tasks.outcomes import RIGHT, TIE, OptionScores
from lmlab.evaluation.tasks.task import StyleName, Task
from lmlab.stats.proportion import POWER, Proportion, proportion, smallest_between, smallest_from

Standing = Literal["above", "at chance", "not above the majority class", "below chance", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A model's result on the items of a task that could be scored."""

    styles: dict[StyleName, Proportion]
    """The accuracy by style, the primary one first."""
    ties: dict[StyleName, int]
    """Items in which another option had the right one's value; they count as not right."""
    bits_per_byte: float
    """Bits of the right answers per byte of their text; NaN where nothing could be scored."""
    chance: float
    """The accuracy of a random choice; 0 where there is nothing to choose from."""
    majority: float | None
    """The accuracy of always choosing the position, or where there is nothing to choose from always giving the answer, that is most
    often right; None where the right option always has the same position."""
    groups: dict[str, dict[str, Proportion]]
    """Grouping -> group -> its accuracy in the primary style."""

    @property
    def primary(self) -> Proportion:
        """The accuracy in the primary style."""
        return next(iter(self.styles.values()))

    @property
    def baseline(self) -> float:
        """The larger one of chance and majority class."""
        return max(self.chance, self.majority or 0.0)

    @property
    def standing(self) -> Standing:
        """Whether the interval of the accuracy is above both baselines."""
        found = self.primary
        if not found.trials:
            return "unknown"
        if found.high < self.chance:
            return "below chance"
        if found.low <= self.chance:
            return "at chance"
        return "above" if found.low > self.baseline else "not above the majority class"

    @property
    def smallest_above(self) -> float:
        """By how much an accuracy must exceed the baseline for so many items to show it, with 80% power at the 5% level."""
        return smallest_from(self.baseline, self.primary.effective) if self.primary.trials else math.inf

    def smallest_between(self, disagreement: float | None = None) -> float:
        """Return the smallest difference to another model that so many items show, with 80% power at the 5% level.

        `disagreement` is the share of items on which exactly one of the two is right (None: that of two independent models of this
        accuracy, the most that two such models would have).
        """
        found = self.primary
        if not found.trials:
            return math.inf
        share = min(max(found.estimate, 1 / found.trials), 1 - 1 / (found.trials + 1))
        apart = 2 * share * (1 - share) if disagreement is None else disagreement
        return smallest_between(apart, found.effective)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "styles": {name: {**found.to_json(), "ties": self.ties[name]} for name, found in self.styles.items()},
            "bits_per_byte": self.bits_per_byte,
            "chance": self.chance,
            "majority": self.majority,
            "standing": self.standing,
            "power": {
                "level": 0.05,
                "power": POWER,
                "above_baseline": self.smallest_above,
                "between_models": self.smallest_between(),
            },
            "groups": {
                grouping: {name: found.to_json() for name, found in groups.items()}
                for grouping, groups in self.groups.items()
            },
        }


def figures_of(task: Task, items: Sequence[Item], scores: OptionScores) -> Figures:
    """Return the figures of a task's items."""
    scorable = scores.scorable
    clusters = clusters_of(items)
    own = None if clusters is None else clusters[scorable]
    outcomes = {style: scores.outcomes(style) for style in task.styles}
    right = {style: found[scorable] == RIGHT for style, found in outcomes.items()}
    options = scores.present.sum(axis=1)[scorable]
    chance = float(np.where(options > 1, 1 / np.maximum(options, 1), 0.0).mean()) if len(options) else math.nan
    return Figures(
        styles={style: proportion(found, own) for style, found in right.items()},
        ties={style: int(np.count_nonzero(found == TIE)) for style, found in outcomes.items()},
        bits_per_byte=scores.bits_per_byte(),
        chance=chance,
        majority=_majority(task, [item for item, kept in zip(items, scorable.tolist(), strict=True) if kept]),
        groups=_groups(task, items, scorable, right[task.style], own),
    )


def _majority(task: Task, items: Sequence[Item]) -> float | None:
    if not items or not (task.positions_mean or all(len(item.options) == 1 for item in items)):
        return None
    choices = Counter(item.gold if len(item.options) > 1 else item.right.answer.strip() for item in items)
    return max(choices.values()) / len(items)


def clusters_of(items: Sequence[Item]) -> NDArray[np.int64] | None:
    """Return the number of each item's cluster, [items]; None if all items are independent."""
    if not any(item.cluster for item in items):
        return None
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(item.cluster or f"\n{place}", len(numbers)) for place, item in enumerate(items)]
    )


def _groups(
    task: Task,
    items: Sequence[Item],
    scorable: NDArray[np.bool_],
    right: NDArray[np.bool_],
    clusters: NDArray[np.int64] | None,
) -> dict[str, dict[str, Proportion]]:
    """Return the accuracies by grouping and group, in the order of their names; `right` and `clusters` are of scorable items."""
    kept = [item for item, scored in zip(items, scorable.tolist(), strict=True) if scored]
    found: dict[str, dict[str, Proportion]] = {}
    for column, grouping in enumerate(task.groupings):
        names = np.array([item.groups[column] for item in kept], dtype=object)
        found[grouping] = {
            name: proportion(right[names == name], None if clusters is None else clusters[names == name])
            for name in sorted(set(names.tolist()))
        }
    return found
