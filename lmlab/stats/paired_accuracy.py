"""Two models judged on the same items: the difference of their accuracies, and whether chance explains it.

Only items that exactly one of the two gets right count. If the items are independent the p-value is that of McNemar's exact test
(1947): of the items on which the two differ, each is as likely to be won by either. If items form clusters, those of one cluster
are summed first (Obuchowski, 1998, Statistics in Medicine 17).

It is the error over items. Another seed of either recipe can differ by as much, which this can't show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.stats.bootstrap import ratio_standard_error
from lmlab.stats.student import normal_quantile

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class PairedAccuracy:
    """The difference of two accuracies on the same items, first minus second."""

    items: int
    first_only: int
    """Items that only the first gets right."""
    second_only: int
    difference: float
    low: float
    high: float
    """`low` and `high` are the 95% interval over items; NaN with fewer than two."""
    p_value: float

    @property
    def disagreement(self) -> float:
        """Share of the items on which exactly one of the two is right; NaN without items."""
        return (self.first_only + self.second_only) / self.items if self.items else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "items": self.items,
            "first_only": self.first_only,
            "second_only": self.second_only,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "p_value": self.p_value,
        }


def paired_accuracy(
    first: NDArray[np.bool_], second: NDArray[np.bool_], clusters: NDArray[np.int64] | None = None
) -> PairedAccuracy:
    """Return the difference of the shares of True in `first` and `second` ([items], the same items in the same order).

    `clusters` numbers the cluster of each item (None: all independent).
    """
    items = len(first)
    apart = first.astype(np.float64) - second.astype(np.float64)
    first_only, second_only = int(np.count_nonzero(apart > 0)), int(np.count_nonzero(apart < 0))
    of = np.arange(items) if clusters is None else clusters
    filled = np.bincount(of) > 0
    sums = np.asarray(np.bincount(of, weights=apart)[filled], dtype=np.float64)
    sizes = np.bincount(of)[filled]
    half = normal_quantile((1 + LEVEL) / 2) * ratio_standard_error(sums, sizes)
    difference = float(apart.sum()) / items if items else math.nan
    return PairedAccuracy(
        items=items,
        first_only=first_only,
        second_only=second_only,
        difference=difference,
        low=difference - half,
        high=difference + half,
        p_value=exact_p_value(first_only, second_only) if clusters is None else _clustered_p_value(sums),
    )


def exact_p_value(first_only: int, second_only: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    >>> exact_p_value(0, 5)
    0.0625
    """
    from scipy.special import bdtr

    differing = first_only + second_only
    return min(1.0, 2.0 * float(bdtr(min(first_only, second_only), differing, 0.5))) if differing else 1.0


def _clustered_p_value(sums: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of the sum of the clusters' differences, by the normal distribution."""
    spread = float(np.sqrt(np.square(sums).sum()))
    return 2.0 * NormalDist().cdf(-abs(float(sums.sum())) / spread) if spread else 1.0
