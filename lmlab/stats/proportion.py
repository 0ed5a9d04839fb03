"""Shares of right answers: standard errors and intervals, also of dependent answers, and the smallest difference that can be shown.

Input: for each item whether its answer was right, and optionally the cluster that it belongs to (questions on one passage, the two
sentences of a schema). The interval is Wilson's (1927) with the effective number of items in place of their number: n divided by
the design effect, the variance over clusters relative to that of independent items (Dean and Pagano, 2015, Survey Methodology 41).

Sizes of differences that can be shown follow from the normal approximation: of one share from a fixed one by Fleiss (Statistical
Methods for Rates and Proportions, section 2.4), of two paired shares by Connor (1987, Biometrics 43).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.stats.bootstrap import ratio_standard_error
from lmlab.stats.student import normal_quantile

LEVEL = 0.95
POWER = 0.8
HALVINGS = 60


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """A share of items with its uncertainty over items."""

    right: int
    trials: int
    estimate: float
    """NaN without items, as are the standard error and the limits."""
    standard_error: float
    low: float
    high: float
    """`low` and `high` are the 95% interval."""
    effective: float
    """Number of independent items that would give this standard error, at most `trials`."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "accuracy": self.estimate,
            "right": self.right,
            "items": self.trials,
            "standard_error": self.standard_error,
            "low": self.low,
            "high": self.high,
            "effective_items": self.effective,
        }


def proportion(right: NDArray[np.bool_], clusters: NDArray[np.int64] | None = None) -> Proportion:
    """Return the share of True in `right` ([items]); `clusters` numbers the cluster of each item (None: all independent).

    Clusters that vary less than independent items would, as where a model answers both sentences of each pair alike, don't narrow
    the interval. Where all answers are right, or none is, each cluster counts as one item.
    """
    trials, count = len(right), int(np.count_nonzero(right))
    if not trials:
        nan = math.nan
        return Proportion(right=0, trials=0, estimate=nan, standard_error=nan, low=nan, high=nan, effective=0.0)
    share = count / trials
    effective = float(trials)
    if clusters is not None:
        effective = min(effective, _effective(right, clusters, share))
    low, high = wilson(share, effective)
    return Proportion(
        right=count,
        trials=trials,
        estimate=share,
        standard_error=math.sqrt(share * (1 - share) / effective),
        low=low,
        high=high,
        effective=effective,
    )


def wilson(share: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the limits of Wilson's score interval of a share of `trials` independent items, which may be fractional.

    >>> [round(limit, 4) for limit in wilson(0.5, 100)]
    [0.4038, 0.5962]
    """
    z = normal_quantile((1 + level) / 2)
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Exactly 0 and 1 where rounding would leave a trace.
    return (centre - half) / scale if share > 0.0 else 0.0, (centre + half) / scale if share < 1.0 else 1.0


def smallest_from(fixed: float, trials: float, level: float = LEVEL, power: float = POWER) -> float:
    """Return by how much a share must exceed `fixed` for `trials` items to show it; infinite if even a share of 1 is too small.

    >>> round(smallest_from(0.5, 100), 3)
    0.138
    """
    alpha, beta = normal_quantile((1 + level) / 2), normal_quantile(power)

    def shown(difference: float) -> bool:
        share = fixed + difference
        needed = alpha * math.sqrt(fixed * (1 - fixed)) + beta * math.sqrt(share * (1 - share))
        return difference * math.sqrt(trials) >= needed

    return _smallest(shown, 1.0 - fixed)


def smallest_between(disagreement: float, trials: float, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest difference of two shares that `trials` items show, where both models are judged on the same items and
    exactly one of them is right on the share `disagreement`; infinite if not even a difference as large as that is shown.

    >>> round(smallest_between(0.2, 1000), 3)
    0.04
    """
    alpha, beta = normal_quantile((1 + level) / 2), normal_quantile(power)

    def shown(difference: float) -> bool:
        needed = alpha * math.sqrt(disagreement) + beta * math.sqrt(max(0.0, disagreement - difference**2))
        return difference * math.sqrt(trials) >= needed

    return _smallest(shown, disagreement) if disagreement > 0.0 else math.inf


def _effective(right: NDArray[np.bool_], clusters: NDArray[np.int64], share: float) -> float:
    """Return the number of independent items with the variance that these have over clusters."""
    sizes = np.bincount(clusters)
    filled = sizes > 0
    of_cluster = np.bincount(clusters, weights=right)[filled]
    if not 0.0 < share < 1.0:
        return float(filled.sum())
    error = ratio_standard_error(of_cluster, sizes[filled])
    if math.isnan(error):
        return 1.0
    return share * (1 - share) / error**2 if error > 0.0 else math.inf


def _smallest(shown: Callable[[float], bool], largest: float) -> float:
    """Return the smallest difference from 0 to `largest` for which `shown`, which is monotonic, returns True; infinite if none."""
    if not shown(largest):
        return math.inf
    low, high = 0.0, largest
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high
