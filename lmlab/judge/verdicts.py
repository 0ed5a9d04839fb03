"""Which of two candidates is better by a judge's scores, beyond chance over questions and whatever unread replies would have said.

The difference is paired by question; its interval is Student's. Where replies are missing, the test is that of the worst case: each
missing score of one candidate the lowest and of the other the highest, and the reverse. p-values of all pairs are adjusted together
(Holm). Higher scores are better here, unlike the losses of `lmlab.stats.verdict`, whose sources of error these are. Another seed of
a recipe can differ by as much, which questions can't show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.judge.rounds import Pair, Replies
from lmlab.stats.multiple import holm
from lmlab.stats.questions import questions_needed
from lmlab.stats.sequential import confidence_sequence
from lmlab.stats.verdict import ErrorPart, Kind, half_width, p_value

SIGNIFICANT = 0.05
SCALE = (0.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The verdict on the first of two candidates."""

    first: str
    second: str
    kind: Kind
    difference: float
    """Mean score of the first minus that of the second, of the questions with both; NaN without any."""
    low: float
    high: float
    """`low` and `high` are the 95% interval, which holds whatever the missing scores are."""
    questions: int
    missing: int
    spread: float
    """Standard deviation of the difference per question; NaN with fewer than two."""
    p_value: float
    """Of the worst case of what is missing."""
    adjusted_p_value: float
    needed: int | None
    """Questions that show a true difference of this size in four of five cases; None if no number does."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {**vars(self), "kind": self.kind}


def compare(replies: Replies, pairs: Sequence[Pair]) -> list[Compared]:
    """Return the verdicts on pairs of candidates, over all questions that were asked."""
    asked = replies.asked()
    duels = [(one[asked], other[asked]) for one, other in (replies.duel(*pair) for pair in pairs)]
    return compared_scores([(replies.names[a], replies.names[b]) for a, b in pairs], duels, SCALE)


def compared_scores(
    names: Sequence[tuple[str, str]],
    duels: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    scale: tuple[float, float],
) -> list[Compared]:
    """Return the verdicts on pairs of scores, each [questions], of which the higher is better; NaN is missing."""
    worst = [
        max(map(difference_p_value, both)) if _agree(*both) else 1.0
        for both in (_bounds(*duel, scale) for duel in duels)
    ]
    adjusted = holm(worst)
    found = []
    for (first, second), (one, other), p, holms in zip(names, duels, worst, adjusted, strict=True):
        apart = one - other
        there = apart[~np.isnan(apart)]
        difference = float(there.mean()) if len(there) else math.nan
        spread = float(np.std(there, ddof=1)) if len(there) > 1 else math.nan
        limits = [_limits(bound) for bound in _bounds(one, other, scale)]
        kind: Kind = "indistinguishable" if not holms < SIGNIFICANT else "better" if difference > 0 else "worse"
        found.append(
            Compared(
                first=first,
                second=second,
                kind=kind,
                difference=difference,
                low=limits[0][0],
                high=limits[1][1],
                questions=len(there),
                missing=len(apart) - len(there),
                spread=spread,
                p_value=p,
                adjusted_p_value=holms,
                needed=None if math.isnan(spread) else questions_needed(spread, difference),
            )
        )
    return found


def difference_p_value(apart: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of a mean difference over questions, by Student's t; 1 with fewer than two."""
    if len(apart) < 2:
        return 1.0
    return p_value(float(apart.mean()), (_error(apart),))


def _error(apart: NDArray[np.float64]) -> ErrorPart:
    error = float(np.std(apart, ddof=1)) / math.sqrt(len(apart))
    return ErrorPart(standard_error=error, freedom=len(apart) - 1)


def _limits(apart: NDArray[np.float64]) -> tuple[float, float]:
    if len(apart) < 2:
        return math.nan, math.nan
    half = half_width((_error(apart),))
    return float(apart.mean()) - half, float(apart.mean()) + half


def _bounds(
    one: NDArray[np.float64], other: NDArray[np.float64], scale: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest differences that there can be, in each question."""
    low, high = scale
    lowest = np.where(np.isnan(one), low, one) - np.where(np.isnan(other), high, other)
    highest = np.where(np.isnan(one), high, one) - np.where(np.isnan(other), low, other)
    return lowest, highest


def _agree(lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> bool:
    """Return whether both have a mean of the same sign."""
    return bool(len(lowest)) and float(lowest.mean()) * float(highest.mean()) > 0.0


def decided(replies: Replies, pairs: Sequence[Pair], order: Sequence[int]) -> list[Compared]:
    """Return the verdicts that hold at every look: confidence sequences over the questions in the order in which they were asked.

    The level is shared among the pairs (Bonferroni), since all are looked at. Missing scores count as the worst case of each side.
    """
    level = 1.0 - SIGNIFICANT / max(1, len(pairs))
    found = []
    for pair, plain in zip(pairs, compare(replies, pairs), strict=True):
        one, other = (points[list(order)] for points in replies.duel(*pair))
        lowest, highest = _bounds(one, other, SCALE)
        limits = (SCALE[0] - SCALE[1], SCALE[1] - SCALE[0])
        low = float(confidence_sequence(lowest, limits, level).low[-1]) if len(order) else limits[0]
        high = float(confidence_sequence(highest, limits, level).high[-1]) if len(order) else limits[1]
        kind: Kind = "better" if low > 0 else "worse" if high < 0 else "indistinguishable"
        nothing = {"p_value": math.nan, "adjusted_p_value": math.nan}  # those of the plain test hold for one look
        found.append(Compared(**{**vars(plain), **nothing, "kind": kind, "low": low, "high": high}))
    return found
