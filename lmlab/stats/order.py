"""Whether a pairwise judge decides by the answers or by their order: the same pairs, judged in both orders.

A verdict is 1 where the first of the pair wins, 0 where the second wins, 0.5 for a tie, and NaN where the reply could not be
parsed. Consistency is the share of pairs with the same verdict in both orders (Zheng et al., 2023, arXiv 2306.05685, section 3.4
and table 2). Position bias is by how much the answer shown first wins more than half of the points, over both orders, in which
each answer is first equally often: 0 for a judge that ignores the order, 0.5 for one that always takes the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmlab import LabError
from lmlab.stats.bootstrap import Interval, ratio_standard_error
from lmlab.stats.proportion import Proportion, proportion
from lmlab.stats.student import student_quantile

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class OrderConsistency:
    """What the order of a pair does to a judge's verdicts."""

    consistent: Proportion
    """Pairs with the same verdict in both orders, among those with two verdicts."""
    by_chance: float
    """The share that would be consistent if the two verdicts of a pair were unrelated, with the same shares of wins and ties."""
    bias: Interval
    """Points of the answer shown first, minus a half; `units` is the number of questions. With the 95% interval over these."""
    first_always: int
    """Pairs of which the answer shown first wins in both orders."""
    second_always: int
    missing: int
    """Pairs without a verdict in one order or both."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "pairs": self.consistent.trials,
            "consistent": self.consistent.estimate,
            "consistent_low": self.consistent.low,
            "consistent_high": self.consistent.high,
            "by_chance": self.by_chance,
            "position_bias": self.bias.estimate,
            "position_bias_low": self.bias.low,
            "position_bias_high": self.bias.high,
            "first_always": self.first_always,
            "second_always": self.second_always,
            "missing": self.missing,
        }


def order_consistency(
    in_order: ArrayLike, exchanged: ArrayLike, questions: ArrayLike | None = None
) -> OrderConsistency:
    """Return how the verdicts on the same pairs agree. Both are [pairs], each verdict about the pair's own first answer: `in_order`
    where that is shown first, `exchanged` where it is shown second. `questions`, [pairs], names each pair's question (None: each
    has its own).

    Raises LabError for a verdict that isn't 0, 0.5, 1 or NaN.
    """
    shown, turned = np.asarray(in_order, dtype=np.float64), np.asarray(exchanged, dtype=np.float64)
    if shown.ndim != 1 or shown.shape != turned.shape:
        raise LabError(f"verdicts of shape {shown.shape} and {turned.shape}: expected two lists of one length")
    for value in np.concatenate([shown, turned]):
        if not (math.isnan(value) or value in (0.0, 0.5, 1.0)):
            raise LabError(f"a verdict is {value:g}: expected 1, 0.5, 0 or NaN")
    judged = ~(np.isnan(shown) | np.isnan(turned))
    of = np.arange(len(shown)) if questions is None else np.unique(np.asarray(questions), return_inverse=True)[1]
    one, other, of = shown[judged], turned[judged], of[judged].astype(np.int64)
    same = one == other
    return OrderConsistency(
        consistent=proportion(same, None if questions is None else of),
        by_chance=float(sum((one == kind).mean() * (other == kind).mean() for kind in (0.0, 0.5, 1.0)))
        if len(one)
        else math.nan,
        bias=_bias((one + 1.0 - other) / 2.0, of),
        first_always=int(np.count_nonzero((one == 1.0) & (other == 0.0))),
        second_always=int(np.count_nonzero((one == 0.0) & (other == 1.0))),
        missing=int(np.count_nonzero(~judged)),
    )


def _bias(points: np.ndarray, of: np.ndarray) -> Interval:
    """Return the mean points of the answer shown first, minus a half, [pairs], with the interval over questions."""
    if not len(points):
        return Interval(estimate=math.nan, low=math.nan, high=math.nan, level=LEVEL, units=0)
    counts = np.bincount(of)
    units = int(np.count_nonzero(counts))
    sums = np.bincount(of, weights=points)[counts > 0]
    estimate = float(points.mean()) - 0.5
    half = student_quantile((1 + LEVEL) / 2, units - 1) * ratio_standard_error(sums, counts[counts > 0])
    return Interval(estimate=estimate, low=estimate - half, high=estimate + half, level=LEVEL, units=units)
