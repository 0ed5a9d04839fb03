"""Where a loss curve was lowest, and whether it rose after that by more than chance.

The weights move with each batch, so the losses of evaluations scatter around a smooth curve although all of them score the same
text. A rise is more than this scatter in one of two ways:

- By its order. Numbers that follow no trend stand in any order equally often: five of them rise four times in a row in one of
  5! = 120 cases. In general the chance of an order is that of Mann and Kendall's test for a trend (Kendall, Rank Correlation
  Methods, chapter 1), counted exactly. It is asked of the last five evaluations, the last half and the last two thirds; these
  windows don't depend on where the curve was lowest, which chance would have a say in. Where no evaluation depends on the one
  before, false alarms are 1 to 3 % for all three together. Where the level itself wanders at random (each difference up or down
  with probability 1/2), four rises in a row are one of 16.
- By its size, against the scatter of this curve: the larger of what validation leaves a curve that falls and then rises, and
  what the training loss, which doesn't turn, leaves a smooth one.

docs/verdicts.md has the rates of false alarms and of rises found.
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
CLEAR_RISE = 0.005  # likewise, of a rise that is told by its size
FEW = 6  # evaluations; below, scatter can't be told from a turn
LARGE_RISE = 0.05  # share of the best loss that is a rise where evaluations are few
SURE = 3.0  # standard deviations, of a deviation that is itself guessed from a few evaluations
FEWEST_IN_ORDER = 5  # numbers of which one order in a hundred can say something: four have 24 orders
EXACT = 40  # numbers up to which their orders are counted; from there on the normal distribution's chance is close
MOST_IN_ORDER = 400
RARE = 0.01  # chance of an order that is no chance
MEDIAN_TO_SIGMA = 1.4826  # for a normal distribution: standard deviation over median absolute deviation
LAST = 3  # evaluations whose mean is held against the best


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The best evaluation of a run, and whether the loss rose after it by more than chance."""

    index: int
    step: int
    loss: float
    rose: bool
    rise: float
    """The mean of the last evaluations (at most three) minus the best, in nats a token; 0 where the best is the last."""
    last: int
    """Evaluations in that mean."""
    noise: float = 0.0
    """The standard deviation of one evaluation; 0 where they are too few to tell it."""


def turning_point(steps: Sequence[int], losses: Sequence[float], train: Sequence[float] | None = None) -> Turn:
    """The best of the evaluations, and whether the loss rose after it by more than chance.

    `train` are training losses at the same evaluations, from which their scatter is told too. Losses that aren't finite are passed
    over, and a curve without any has no turning point (ValueError).
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
    """The standard deviation of one evaluation around the smooth curve, in the losses' unit; 0 where fewer than six
    evaluations can't tell noise from a turn.

    For independent noise the third differences of a smooth curve have twenty times its variance (1 + 9 + 9 + 1). Their
    median hardly depends on the steep start; the first quarter of the curve, where it bends most, is left out.
    """
    values = np.asarray(losses, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < FEW:
        return 0.0
    tail = values[min(len(values) // 4, max(0, len(values) - 8)) :]
    return float(MEDIAN_TO_SIGMA * np.median(np.abs(np.diff(tail, 3))) / math.sqrt(20.0))


def scatter_around_a_turn(losses: Sequence[float]) -> float:
    """The standard deviation of one evaluation around the best curve that falls to the lowest loss and rises from there.

    Isotonic regression on either side (Barlow et al., Statistical Inference under Order Restrictions, chapter 1); each level that
    it finds takes a degree of freedom. 0 where every loss has a level of its own: the curve then falls and rises without exception.
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
    """The never falling sequence with the least squares around `values`, and how many levels it has (pool adjacent violators)."""
    levels: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, count = value, 1
        while levels and levels[-1][0] > mean:
            below, many = levels.pop()
            mean, count = (below * many + mean * count) / (many + count), many + count
        levels.append((mean, count))
    return np.repeat([mean for mean, _ in levels], [count for _, count in levels]), len(levels)


def chance_of_order(values: Sequence[float]) -> float:
    """The chance that numbers in random order rise at least as much as these: Mann and Kendall's test, one-sided and exact.

    Counted are pairs of which the later isn't the larger. Numbers that only rise have none: 1 / n!.

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
    """The chance of at most 0, 1, ... inversions in a random order of `count` numbers (Mahonian numbers, added up)."""
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
    """At most MOST_IN_ORDER of the values, evenly spaced, the last among them: every pair of them is looked at."""
    count = len(values)
    kept = np.linspace(0, count - 1, min(count, MOST_IN_ORDER)).round().astype(int)
    return [float(value) for value in values[kept]]


def _noise(values: NDArray[np.float64], train: NDArray[np.float64] | None) -> float:
    """The scatter of one evaluation, the larger of what validation and what training shows; 0 for few evaluations."""
    if len(values) < FEW:
        return 0.0
    smooth = noise_level((values if train is None else train).tolist())
    return max(scatter_around_a_turn(values.tolist()), smooth)


def _large(values: NDArray[np.float64], best: int, rise: float, last: int, noise: float) -> bool:
    """Whether the rise is larger than the scatter of single evaluations explains."""
    lowest = abs(float(values[best]))
    if len(values) < FEW:
        return rise > LARGE_RISE * lowest
    luck = math.sqrt(2.0 * math.log(len(values)))  # by how many deviations the least of so many draws is low
    return rise > max(CLEAR_RISE * lowest, noise * (luck + SURE / math.sqrt(last)))
