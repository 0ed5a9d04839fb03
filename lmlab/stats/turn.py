"""Where a loss curve was lowest, and whether it rose afterwards by more than chance.

The weights move with each batch, so the losses of evaluations scatter around a smooth curve although all use the same
text. A rise is significant by one of two tests:

- By its order. Without a trend all orders are equally likely: five values rise four times in a row in one of
  5! = 120 cases. In general the chance of an order is that of Mann and Kendall's test for a trend (Kendall, Rank Correlation
  Methods, chapter 1), computed exactly. It is applied to the last five evaluations, the last half and the last two thirds; these
  windows don't depend on where the curve was lowest, which is itself random. If evaluations are independent of the one
  before, false positives are 1 to 3 % for all three together. If the level is a random walk (each difference up or down
  with probability 1/2), four rises in a row have probability 1/16.
- By its size, against the scatter of this curve: the larger of the residual of validation around a curve that falls and then
  rises, and the residual of the training loss, which has no turning point, around a smooth curve.

docs/verdicts.md has the rates of false positives and of detected rises.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

SMALL_RISE = 0.002  # share of the best loss; a smaller change is never called a rise
CLEAR_RISE = 0.005  # likewise, for the test by size
FEW = 6  # evaluations; with fewer, scatter can't be distinguished from a turn
LARGE_RISE = 0.05  # share of the best loss that is a rise where evaluations are few
SURE = 3.0  # standard deviations; the deviation itself is estimated from few evaluations
FEWEST_IN_ORDER = 5  # values needed for a chance below RARE: four have only 24 orders
EXACT = 40  # up to this many values orders are counted; beyond, the normal approximation is close
MOST_IN_ORDER = 400
RARE = 0.01  # significance level of an order
MEDIAN_TO_SIGMA = 1.4826  # for a normal distribution: standard deviation over median absolute deviation
LAST = 3  # evaluations whose mean is compared with the best


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The best evaluation of a run, and whether the loss rose afterwards by more than chance."""

    index: int
    step: int
    loss: float
    rose: bool
    rise: float
    """The mean of the last evaluations (at most three) minus the best, in nats a token; 0 if the best is the last."""
    last: int
    """Number of evaluations in that mean."""
    noise: float = 0.0
    """The standard deviation of one evaluation; 0 if there are too few to estimate it."""


def turning_point(steps: Sequence[int], losses: Sequence[float], train: Sequence[float] | None = None) -> Turn:
    """Return the best evaluation, and whether the loss rose afterwards by more than chance.

    `train` are training losses at the same evaluations, from which the scatter is estimated too. Losses that aren't finite are
    ignored; raises ValueError if none is finite.
    """
    values = np.asarray(losses, dtype=np.float64)
    places = np.flatnonzero(np.isfinite(values))
    values = values[places]
    if not len(values):
        raise ValueError("a turning point needs at least one finite loss")
    best = int(np.argmin(values))
    tail = values[best + 1 :][-LAST:]
    rise = float(tail.mean() - values[best]) if len(tail) else 0.0
    other = None if train is None else np.asarray(train, dtype=np.float64)[places]
    noise = _noise(values, other)
    rose = len(tail) > 1 and rise > SMALL_RISE * abs(float(values[best]))
    rose = rose and (_large(values, best, rise, len(tail), noise) or _ordered(values))
    place, loss = int(places[best]), float(values[best])
    return Turn(index=place, step=int(steps[place]), loss=loss, rose=rose, rise=rise, last=len(tail), noise=noise)


def noise_level(losses: Sequence[float]) -> float:
    """Return the standard deviation of one evaluation around the smooth curve, in the losses' unit; 0 with fewer than six
    evaluations.

    For independent noise the third differences of a smooth curve have 20 times its variance (1 + 9 + 9 + 1). Their
    median hardly depends on the steep start; the first quarter of the curve, where it bends most, is left out.
    """
    values = np.asarray(losses, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < FEW:
        return 0.0
    tail = values[min(len(values) // 4, max(0, len(values) - 8)) :]
    return float(MEDIAN_TO_SIGMA * np.median(np.abs(np.diff(tail, 3))) / math.sqrt(20.0))


def scatter_around_a_turn(losses: Sequence[float]) -> float:
    """Return the standard deviation of one evaluation around the best-fitting curve that falls to the lowest loss and then rises.

    Isotonic regression on each side (Barlow et al., Statistical Inference under Order Restrictions, chapter 1); each level that
    it finds takes a degree of freedom. 0 if every loss has its own level: the curve then falls and rises monotonically.
    """
    values = np.asarray(losses, dtype=np.float64)
    best = int(np.argmin(values))
    squares, freedom = 0.0, len(values) - 1
    for side in (values[: best + 1][::-1], values[best:]):
        fitted, levels = rising_fit(side)
        squares += float(np.sum((side - fitted) ** 2))
        freedom -= levels - 1
    return math.sqrt(squares / freedom) if freedom > 0 else 0.0


def rising_fit(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Return the non-decreasing least-squares fit to `values` (pool adjacent violators), and its number of levels."""
    levels: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, count = value, 1
        while levels and levels[-1][0] > mean:
            below, many = levels.pop()
            mean, count = (below * many + mean * count) / (many + count), many + count
        levels.append((mean, count))
    return np.repeat([mean for mean, _ in levels], [count for _, count in levels]), len(levels)


def chance_of_order(values: Sequence[float]) -> float:
    """Return the probability that values in random order rise at least as much as these: Mann and Kendall's test, one-sided and
    exact.

    The statistic is the number of pairs whose later value isn't larger; strictly rising values have none: 1 / n!.

    >>> round(1 / chance_of_order([1.39, 1.40, 1.42, 1.47, 1.50]))
    120
    """
    array = np.asarray(values, dtype=np.float64)
    falls = int(np.triu(array[:, None] >= array[None, :], 1).sum())
    count = len(array)
    if count <= EXACT:
        return _chances(count)[falls]
    mean, variance = count * (count - 1) / 4, count * (count - 1) * (2 * count + 5) / 72
    return NormalDist(mean, math.sqrt(variance)).cdf(falls + 0.5)


@functools.cache
def _chances(count: int) -> tuple[float, ...]:
    """Return the probability of at most 0, 1, ... inversions in a random order of `count` values (cumulative Mahonian numbers)."""
    orders = np.ones(1)
    for length in range(2, count + 1):
        orders = np.convolve(orders, np.full(length, 1.0 / length))
    return tuple(np.cumsum(orders).tolist())


def _ordered(values: NDArray[np.float64]) -> bool:
    count = len(values)
    if count < FEWEST_IN_ORDER:
        return False
    windows = {max(FEWEST_IN_ORDER, size) for size in (-(-count // 2), -(-2 * count // 3))} | {FEWEST_IN_ORDER}
    return any(chance_of_order(_thinned(values[-size:])) <= RARE for size in windows)


def _thinned(values: NDArray[np.float64]) -> list[float]:
    """Return at most MOST_IN_ORDER evenly spaced values, including the last, since every pair of them is compared."""
    count = len(values)
    kept = np.linspace(0, count - 1, min(count, MOST_IN_ORDER)).round().astype(int)
    return [float(value) for value in values[kept]]


def _noise(values: NDArray[np.float64], train: NDArray[np.float64] | None) -> float:
    """Return the scatter of one evaluation, the larger estimate from validation and training; 0 for few evaluations."""
    if len(values) < FEW:
        return 0.0
    smooth = noise_level((values if train is None else train).tolist())
    return max(scatter_around_a_turn(values.tolist()), smooth)


def _large(values: NDArray[np.float64], best: int, rise: float, last: int, noise: float) -> bool:
    """Return whether the rise exceeds what the scatter of single evaluations explains."""
    lowest = abs(float(values[best]))
    if len(values) < FEW:
        return rise > LARGE_RISE * lowest
    luck = math.sqrt(2.0 * math.log(len(values)))  # expected depth, in deviations, of the minimum of so many draws
    return rise > max(CLEAR_RISE * lowest, noise * (luck + SURE / math.sqrt(last)))
