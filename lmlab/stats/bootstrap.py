"""Standard errors and bootstrap intervals of ratios of sums: nats a token, bits a byte, accuracy.

Input: two numbers for each unit (a document, or a block of text), a numerator such as its nats and a denominator such
as its tokens. Output: the ratio of the sums with its standard error (the linearised formula for a ratio estimator,
Cochran, Sampling Techniques, section 6.4) or with a percentile bootstrap interval over units (Efron and Tibshirani, An
Introduction to the Bootstrap, chapter 13). Tokens of one unit are dependent, so units are resampled, never tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError

DRAWS_AT_ONCE = 1 << 17  # indices held in memory: 1 MB, and the same again for each gathered column


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its confidence limits, which are NaN if there are fewer than two units."""

    estimate: float
    low: float
    high: float
    level: float
    units: int
    """Number of units that the estimate is computed from."""


def ratio_standard_error(numerators: ArrayLike, denominators: ArrayLike) -> float:
    """Return the standard error of sum(numerators) / sum(denominators) over units; NaN with fewer than two units.

    Units whose numerator is NaN were not measured and are left out.
    """
    above, below = _measured(numerators, denominators)
    count = len(above)
    if count < 2 or below.sum() == 0:
        return math.nan
    residuals = above - (above.sum() / below.sum()) * below
    return float(np.sqrt(count / (count - 1) * np.sum(residuals**2)) / abs(below.sum()))


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of sum(numerators) / sum(denominators), with units drawn with replacement.

    Units whose numerator is NaN were not measured and are left out. The same arguments give the same interval.
    """
    if not 0.0 < level < 1.0:
        raise LabError(f"an interval's level is {level}: expected a share between 0 and 1, such as 0.95")
    above, below = _measured(numerators, denominators)
    total = float(below.sum())
    estimate = float(above.sum()) / total if total else math.nan
    ratios = ratio_draws(above, below, resamples, seed)
    if not len(ratios):
        return Interval(estimate=estimate, low=math.nan, high=math.nan, level=level, units=len(above))
    low, high = np.nanquantile(ratios, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level, units=len(above))


def difference_interval(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval of one ratio of sums minus another, each given as (numerators, denominators) over
    its own units.

    For validation minus training loss, for example: both texts are samples, so the units of both are drawn with replacement.
    """
    units = [len(_measured(*side)[0]) for side in (first, second)]
    sums = [tuple(float(part.sum()) for part in _measured(*side)) for side in (first, second)]
    estimate = sums[0][0] / sums[0][1] - sums[1][0] / sums[1][1] if sums[0][1] and sums[1][1] else math.nan
    draws = [ratio_draws(*side, resamples, seed + place) for place, side in enumerate((first, second))]
    if not all(len(found) and np.isfinite(found).all() for found in draws):
        return Interval(estimate=estimate, low=math.nan, high=math.nan, level=level, units=min(units))
    low, high = np.nanquantile(draws[0] - draws[1], [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level, units=min(units))


def ratio_draws(
    numerators: ArrayLike, denominators: ArrayLike, resamples: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """Return sum(numerators) / sum(denominators) for each of `resamples` bootstrap draws; empty if there are fewer than two units
    or the denominators sum to 0.

    Units whose numerator is NaN were not measured and are left out.
    """
    above, below = _measured(numerators, denominators)
    count = len(above)
    if count < 2 or below.sum() == 0:
        return np.empty(0)
    drawn = sum_draws((above, below), resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(drawn[:, 0] / drawn[:, 1])


def sum_draws(columns: Sequence[NDArray[np.float64]], resamples: int = 1000, seed: int = 0) -> NDArray[np.float64]:
    """Return the sums of columns, each [units], over the units of each bootstrap draw: [resamples, columns].

    All columns are summed over the same drawn units. The same arguments give the same draws.
    """
    count = len(columns[0])
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, len(columns)))
    rows = max(1, DRAWS_AT_ONCE // count)
    for first in range(0, resamples, rows):
        drawn = generator.integers(0, count, size=(min(rows, resamples - first), count))
        for place, column in enumerate(columns):
            sums[first : first + len(drawn), place] = column[drawn].sum(axis=1)
    return sums


def _measured(numerators: ArrayLike, denominators: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    above = np.asarray(numerators, dtype=np.float64)
    below = np.asarray(denominators, dtype=np.float64)
    if above.ndim != 1 or above.shape != below.shape:
        raise LabError(
            f"numerators of shape {above.shape} and denominators of shape {below.shape}: expected two lists of one length; "
            "pass both arrays of one evaluation, such as bits_per_unit and tokens_per_unit"
        )
    kept = ~np.isnan(above)
    return above[kept], below[kept]
