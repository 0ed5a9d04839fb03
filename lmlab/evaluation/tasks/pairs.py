"""Two models on the same items of a task: which one is better, if chance doesn't explain the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.tasks.outcomes import RIGHT, UNSCORABLE, Outcomes, accuracy
from lmlab.stats.multiple import holm
from lmlab.stats.paired_accuracy import PairedAccuracy, paired_accuracy

SIGNIFICANT = 0.05
Kind = Literal["better", "worse", "indistinguishable", "not ranked"]


@dataclass(frozen=True, kw_only=True)
class TaskPair:
    """The comparison of two models on a task, as the verdict on the first."""

    task: str
    first: str
    second: str
    paired: PairedAccuracy
    """Over the items that both could score."""
    accuracies: tuple[float, float]
    """Of both models over the same items; NaN without any."""
    kind: Kind
    """Not ranked: neither is above chance and the majority class."""
    adjusted_p_value: float
    """The p-value adjusted for all comparisons that are made together (Holm)."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json."""
        return {
            "task": self.task,
            "first": self.first,
            "second": self.second,
            "verdict": self.kind,
            "accuracies": list(self.accuracies),
            **self.paired.to_json(),
            "adjusted_p_value": self.adjusted_p_value,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """A model's outcomes on a task's items."""

    name: str
    outcomes: Outcomes
    above: bool
    """Whether its accuracy is above chance and the majority class."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """A pair before its verdict, which depends on the other comparisons that are made."""

    task: str
    first: Side
    second: Side
    clusters: NDArray[np.int64] | None

    def paired(self) -> PairedAccuracy:
        """Return the difference over the items that both could score."""
        both = self._both()
        first, second = (side.outcomes[both] == RIGHT for side in (self.first, self.second))
        return paired_accuracy(first, second, None if self.clusters is None else self.clusters[both])

    def accuracies(self) -> tuple[float, float]:
        """Return the accuracies over the items that both could score."""
        both = self._both()
        return accuracy(self.first.outcomes[both]), accuracy(self.second.outcomes[both])

    def _both(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (self.first.outcomes != UNSCORABLE) & (self.second.outcomes != UNSCORABLE)
        return found


def verdicts(compared: Sequence[Compared]) -> list[TaskPair]:
    """Return the verdict on each pair; p-values are adjusted for all that can be ranked."""
    found = [one.paired() for one in compared]
    ranked = [one.first.above or one.second.above for one in compared]
    adjusted = iter(holm([pair.p_value for pair, above in zip(found, ranked, strict=True) if above]))
    pairs = []
    for one, paired, above in zip(compared, found, ranked, strict=True):
        p_value = next(adjusted) if above else 1.0
        better: Kind = "better" if paired.difference > 0 else "worse"
        pairs.append(
            TaskPair(
                task=one.task,
                first=one.first.name,
                second=one.second.name,
                paired=paired,
                accuracies=one.accuracies(),
                kind="not ranked" if not above else better if p_value < SIGNIFICANT else "indistinguishable",
                adjusted_p_value=p_value,
            )
        )
    return pairs
