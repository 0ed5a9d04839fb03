"""Kendall's tau-b: whether two orders of the same things agree, from -1 (reversed) over 0 (unrelated) to 1 (the same order).

    tau-b = (concordant - discordant) / sqrt(pairs that x doesn't tie * pairs that y doesn't tie)

(Kendall, 1945, The treatment of ties in ranking problems, Biometrika 33.) A pair that only one of them ties counts against
agreement. The interval is that of the jackknife over independent units on the scale of Fisher's z (Fieller, Hartley and Pearson,
1957, Biometrika 44, for the scale), with Student's quantile. Units are the observations, or, for a ladder of known order, where a
judge scores several versions of each answer, the questions: then only pairs within a question are compared.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError
from lmlab.stats.bootstrap import Interval
from lmlab.stats.proportion import wilson
from lmlab.stats.student import student_quantile

LEVEL = 0.95
FEWEST = 4
"""Observations from which the jackknife gives an interval."""
ROUNDING = 1e-9
MOST_PERMUTED = 8
"""Observations of which all permutations are counted: 40,320."""


def kendall_tau(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Interval:
    """Return tau-b of two variables, each [observations], with an interval for independent observations.

    Observations with a NaN are left out. The estimate is NaN where one variable has a single value; the limits are NaN with fewer
    than 4 observations. Where each value without one observation is the same, as for two equal orders, the limits are those of a
    share of n / 2 disjoint pairs, which are independent.
    """
    x, y = _complete(first, second)
    of_each = [matrix.sum(axis=1) for matrix in _signs(x, y)]
    totals = np.array([sums.sum() for sums in of_each])
    without = _tau(*(total - 2 * sums for total, sums in zip(totals, of_each, strict=True)))
    count = len(x)
    return _interval(float(_tau(*totals)), without, count, 0 if count < FEWEST else count // 2, level)


def kendall_tau_within(first: ArrayLike, second: ArrayLike, groups: ArrayLike, level: float = LEVEL) -> Interval:
    """Return tau-b over the pairs of observations of the same group, such as the scores of a question's answers against the known
    quality of these, with an interval for independent groups.

    All three are [observations]; those with a NaN are left out. `units` is the number of groups with a pair. The limits are NaN
    with fewer than two; where each value without one group is the same they are those of a share of as many trials as groups.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    of = np.asarray(groups)
    if not len(x) == len(y) == len(of):
        raise LabError(f"{len(x)} and {len(y)} values in {len(of)} groups: expected as many of each")
    counts = np.array([_pair_counts(x[of == group], y[of == group]) for group in np.unique(of)]).reshape(-1, 3)
    counts = counts[counts[:, 1:].sum(axis=1) > 0]
    totals = counts.sum(axis=0)
    return _interval(float(_tau(*totals)), _tau(*(totals - counts).T), len(counts), len(counts), level)


def tau_b(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return tau-b alone; NaN where one of the variables has a single value.

    >>> tau_b(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
    0.3333333333333333
    """
    return float(_tau(*_pair_counts(first, second)))


def tau_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """Return the two-sided p value of tau-b under independence: the share of the permutations of one variable with a tau at least
    as far from 0, all of them for up to `MOST_PERMUTED` observations, else as `scipy.stats.kendalltau` has it.

    NaN where a variable has a single value. Where an interval from so few observations is nearly all of [-1, 1], this still tells.

    >>> round(tau_p_value([1, 2, 3, 4], [1, 2, 3, 4]) * 24)  # the order itself and its reverse
    2
    """
    x, y = _complete(first, second)
    agreement, of_x, of_y = _pair_counts(x, y)
    if not of_x * of_y:
        return math.nan
    if len(x) > MOST_PERMUTED:
        import scipy.stats

        return float(scipy.stats.kendalltau(x, y).pvalue)
    signs = np.sign(x[:, None] - x[None, :])
    orders = np.array(list(itertools.permutations(range(len(y)))))
    permuted = y[orders]
    agreements = np.zeros(len(orders))
    for one, other in itertools.combinations(range(len(x)), 2):
        agreements += signs[one, other] * np.sign(permuted[:, one] - permuted[:, other])
    return float(np.mean(np.abs(agreements) >= abs(agreement) - ROUNDING))


def _interval(estimate: float, without: NDArray[np.float64], units: int, independent: int, level: float) -> Interval:
    """Return the jackknife's interval from the values `without` each of the units; `independent` is the number of pairs or groups
    that count as trials where these are all the same.
    """
    kept = without[~np.isnan(without)]
    if math.isnan(estimate) or independent < 2 or len(kept) < 2:
        return Interval(estimate=estimate, low=math.nan, high=math.nan, level=level, units=units)
    count = len(kept)
    error = math.sqrt((count - 1) / count * float(np.square(kept - kept.mean()).sum()))
    if error < ROUNDING or abs(estimate) > 1 - ROUNDING:
        low, high = (2 * limit - 1 for limit in wilson((estimate + 1) / 2, independent, level))
    else:
        half = student_quantile((1 + level) / 2, count - 1) * error / (1 - estimate**2)
        low, high = (math.tanh(math.atanh(estimate) + side * half) for side in (-1, 1))
    return Interval(estimate=estimate, low=low, high=high, level=level, units=units)


def _pair_counts(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return concordant minus discordant pairs, pairs that the first variable doesn't tie, and those that the second doesn't."""
    x, y = _complete(first, second)
    agreement, of_x, of_y = (float(matrix.sum()) / 2 for matrix in _signs(x, y))
    return agreement, of_x, of_y


def _signs(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each ordered pair 1 if it is concordant and -1 if discordant, and whether x and y don't tie it, all [n, n]."""
    of_x, of_y = np.sign(x[:, None] - x[None, :]), np.sign(y[:, None] - y[None, :])
    return of_x * of_y, np.abs(of_x), np.abs(of_y)


def _tau(agreement: ArrayLike, of_x: ArrayLike, of_y: ArrayLike) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(agreement / np.sqrt(np.multiply(of_x, of_y)), dtype=np.float64)


def _complete(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise LabError(f"values of shape {x.shape} and {y.shape}: expected two lists of one length")
    kept = ~(np.isnan(x) | np.isnan(y))
    return x[kept], y[kept]
