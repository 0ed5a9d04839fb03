"""Intervals of a mean that hold at every look: one may look after each question, and stop when the interval excludes 0.

An ordinary 95% interval excludes the truth sooner or later if it is looked at often enough. A confidence sequence covers the mean
at all times together with that probability. This is the hedged betting sequence of Waudby-Smith and Ramdas (2024, Estimating means
of bounded random variables by betting, JRSS B 86, arXiv 2010.09686, theorem 3): for each candidate mean m, two bettors start with
a half each and bet that the next value is above, or below, m:

    K+(m) = product of 1 + min(b_i, c / m) (x_i - m)           K-(m) = product of 1 - min(b_i, c / (1 - m)) (x_i - m)
    b_i = sqrt(2 log(2 / alpha) / (v_i i log(1 + i)))          v_i: the variance of the values before the i-th

If m is the mean neither grows in expectation, so that by Ville's inequality one half of either reaches 1 / alpha with probability
alpha at most. Candidates where it has are excluded for good. It needs values between known limits, in an order that doesn't depend
on them, each with the same expectation given those before it (questions in random order).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError

GRID = 1000
"""Candidate means are this many parts of the scale; limits are rounded outwards to them."""
TRUNCATION = 0.5
"""c: the largest share of a bettor's capital that is lost at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ConfidenceSequence:
    """Limits of a mean after each value, all of which hold together."""

    low: NDArray[np.float64]
    """[values]: never falls."""
    high: NDArray[np.float64]
    """[values]: never rises."""
    level: float

    def first_excluding(self, value: float) -> int | None:
        """Return after how many values the interval first excludes `value`; None if it never does."""
        places = np.flatnonzero((self.low > value) | (self.high < value))
        return int(places[0]) + 1 if len(places) else None


def confidence_sequence(
    values: ArrayLike, limits: tuple[float, float] = (0.0, 1.0), level: float = 0.95
) -> ConfidenceSequence:
    """Return the intervals of the mean after each of `values`, [values], in the order in which they came.

    `limits` are the lowest and highest possible value: -100 and 100 for differences of scores from 0 to 100. Raises LabError for a
    value outside of them or a NaN: a missing score has to be given a value (the lowest of the scale, for example) or left out by a
    rule that doesn't depend on the answers.
    """
    low, high = limits
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not high > low or not 0.0 < level < 1.0:
        raise LabError(
            f"limits {low:g} and {high:g} at level {level:g}: expected a list of values, rising limits and a level below 1"
        )
    outside = given[~((given >= low) & (given <= high))]
    if len(outside):
        raise LabError(f"a value is {outside[0]:g}: expected {low:g} to {high:g}, the limits of the scale")
    scaled = (given - low) / (high - low)
    bets = _bets(scaled, 1.0 - level)
    means = np.linspace(0.0, 1.0, GRID + 1)
    with np.errstate(divide="ignore"):
        most_above, most_below = TRUNCATION / means, TRUNCATION / (1.0 - means)
    above, below = np.zeros(GRID + 1), np.zeros(GRID + 1)
    excluded_at = math.log(2.0 / (1.0 - level))
    possible = np.ones(GRID + 1, dtype=np.bool_)
    found = np.empty((len(scaled), 2))
    limits_now = (0.0, 1.0)
    for place, value in enumerate(scaled):
        above += np.log1p(np.minimum(bets[place], most_above) * (value - means))
        below += np.log1p(-np.minimum(bets[place], most_below) * (value - means))
        possible &= np.maximum(above, below) < excluded_at
        kept = np.flatnonzero(possible)
        if len(kept):  # none left is one of the improbable cases; the last interval stays
            # The next candidate outwards is excluded, and so is everything beyond it.
            limits_now = (means[max(0, kept[0] - 1)], means[min(GRID, kept[-1] + 1)])
        found[place] = limits_now
    return ConfidenceSequence(low=low + (high - low) * found[:, 0], high=low + (high - low) * found[:, 1], level=level)


def _bets(scaled: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return b_i, [values], which depends on the values before the i-th only."""
    count = len(scaled)
    number = np.arange(1, count + 1)
    means = (0.5 + np.cumsum(scaled)) / (1 + number)
    variances = (0.25 + np.cumsum(np.square(scaled - means))) / (1 + number)
    before = np.concatenate([[0.25], variances])[:count]
    return np.asarray(np.sqrt(2.0 * math.log(2.0 / alpha) / (before * number * np.log1p(number))))
