"""Whether two judges put the same models in the same order.

Two figures, since they answer different questions. Of the models' mean scores: tau-b of the two orders, which is what a table of
ranks shows, with a bootstrap over questions. And within questions: tau-b over pairs of answers to one question, which has many
more pairs and shows whether the judges agree about answers, not only about models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError
from lmlab.stats.bootstrap import Interval, sum_draws
from lmlab.stats.kendall import kendall_tau_within, tau_b

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class RankAgreement:
    """How two judges' orders of the same models agree, from -1 to 1."""

    of_means: Interval
    """tau-b of the models' mean scores; NaN with one model. `units` is the number of questions."""
    within: Interval
    """tau-b within questions; `units` is the number of questions with a pair that both judged."""
    same_best: bool
    """Whether both give the highest mean to the same model."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "of_means": {"tau": self.of_means.estimate, "low": self.of_means.low, "high": self.of_means.high},
            "within_questions": {"tau": self.within.estimate, "low": self.within.low, "high": self.within.high},
            "questions": self.of_means.units,
            "same_best": self.same_best,
        }


def rank_agreement(
    first: ArrayLike, second: ArrayLike, level: float = LEVEL, resamples: int = 1000, seed: int = 0
) -> RankAgreement:
    """Return the agreement of two judges' scores, each [models, questions]. An answer that either couldn't score (NaN) is left out.

    Raises LabError if the shapes differ.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 2 or one.shape != other.shape:
        raise LabError(f"scores of shape {one.shape} and {other.shape}: expected two tables of models by questions")
    models, questions = one.shape
    both = ~(np.isnan(one) | np.isnan(other))
    counts = both.astype(np.float64)
    sums = (np.where(both, one, 0.0), np.where(both, other, 0.0))
    means = [_means(table.sum(axis=1), counts.sum(axis=1)) for table in sums]
    estimate = tau_b(means[0], means[1])
    low = high = math.nan
    if questions > 1 and not math.isnan(estimate):
        drawn = sum_draws([*sums[0], *sums[1], *counts], resamples, seed)
        number = drawn[:, 2 * models :]
        pairs = zip(_means(drawn[:, :models], number), _means(drawn[:, models : 2 * models], number), strict=True)
        draws = np.array([tau_b(a, b) for a, b in pairs])
        low, high = (float(limit) for limit in np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2]))
    of = np.broadcast_to(np.arange(questions), one.shape)
    known = bool(models) and not any(np.isnan(mean).all() for mean in means)
    return RankAgreement(
        of_means=Interval(estimate=estimate, low=low, high=high, level=level, units=questions),
        within=kendall_tau_within(one[both], other[both], of[both], level),
        same_best=known and int(np.nanargmax(means[0])) == int(np.nanargmax(means[1])),
    )


def _means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums / counts)
