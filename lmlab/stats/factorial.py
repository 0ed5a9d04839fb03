"""Effects and interactions of the factors of an experiment, as contrasts: weighted sums of the means of its cells.

A cell says which level each factor is at, level 0 being what the factor is compared with:

    (0, 0) -> mean    (1, 0) -> mean    (0, 1) -> mean    (1, 1) -> mean

A contrast's weights add up to 0. Where cells have independent runs, each with variance s^2, its variance is s^2 times the sum of
w^2 / n over the cells (Montgomery, Design and Analysis of Experiments, section 3.5). A main effect is the mean over all settings of
the other factors; an interaction of two factors is by how much the effect of one changes with the other, likewise a mean (section
5.3 there, for factors of any number of levels with level 0 as the reference).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Cell = tuple[int, ...]
"""The level of each factor."""
SMALLEST_WEIGHT = 1e-12
"""Weights that cancel leave this at most."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of the means of cells."""

    weights: Mapping[Cell, float]
    """They add up to 0; cells without one don't count."""

    def value(self, means: Mapping[Cell, float]) -> float:
        """The sum over the cells; KeyError where one has no mean."""
        return math.fsum(weight * means[cell] for cell, weight in self.weights.items())

    def runs(self, counts: Mapping[Cell, int]) -> tuple[float, float]:
        """As how many runs each of the two sides counts: the variance of the contrast is s^2 (1/first + 1/second).

        The first side is what has positive weights. `counts` are the runs of each cell.
        """
        plus = math.fsum(weight**2 / counts[cell] for cell, weight in self.weights.items() if weight > 0)
        minus = math.fsum(weight**2 / counts[cell] for cell, weight in self.weights.items() if weight < 0)
        return 1 / plus, 1 / minus

    def plus(self, other: Contrast, times: float = 1.0) -> Contrast:
        """The sum of this one and `times` the other."""
        cells = {*self.weights, *other.weights}
        summed = {cell: self.weights.get(cell, 0.0) + times * other.weights.get(cell, 0.0) for cell in sorted(cells)}
        return Contrast({cell: weight for cell, weight in summed.items() if weight})

    def merged(self, same: Mapping[Cell, Cell]) -> Contrast:
        """The same contrast where cells stand for others: each weight goes to the cell that `same` names, if it names one."""
        summed: dict[Cell, float] = {}
        for cell, weight in self.weights.items():
            summed[same.get(cell, cell)] = summed.get(same.get(cell, cell), 0.0) + weight
        return Contrast({cell: weight for cell, weight in summed.items() if abs(weight) > SMALLEST_WEIGHT})


def difference(one: Cell, other: Cell) -> Contrast:
    """`one` minus `other`.

    >>> difference((1, 0), (0, 0)).weights
    {(1, 0): 1.0, (0, 0): -1.0}
    """
    return Contrast({one: 1.0, other: -1.0})


def main_effect(levels: Sequence[int], factor: int, level: int) -> Contrast:
    """What `level` of a factor does against its level 0, the mean over all settings of the others; `levels` counts each factor's.

    >>> main_effect((2, 2), 0, 1).weights
    {(1, 0): 0.5, (1, 1): 0.5, (0, 0): -0.5, (0, 1): -0.5}
    """
    share = 1.0 / math.prod(count for place, count in enumerate(levels) if place != factor)
    others = _settings(levels, (factor,))
    return Contrast(
        {
            cell[:factor] + (at,) + cell[factor + 1 :]: sign * share
            for at, sign in ((level, 1), (0, -1))
            for cell in others
        }
    )


def interaction(levels: Sequence[int], one: tuple[int, int], other: tuple[int, int]) -> Contrast:
    """By how much (factor, level) `one` does something else where `other` is set too: (both - second) - (first - neither).

    >>> interaction((2, 2), (0, 1), (1, 1)).weights
    {(1, 1): 1.0, (0, 1): -1.0, (1, 0): -1.0, (0, 0): 1.0}
    """
    (first, level), (second, beside) = one, other
    others = _settings(levels, (first, second))
    share = 1.0 / len(others)
    found: dict[Cell, float] = {}
    for cell in others:
        for (at, also), sign in (((level, beside), 1), ((0, beside), -1), ((level, 0), -1), ((0, 0), 1)):
            placed = list(cell)
            placed[first], placed[second] = at, also
            found[tuple(placed)] = sign * share
    return Contrast(found)


def covers(contrast: Contrast, cells: Collection[Cell]) -> bool:
    """Whether every cell of the contrast is there."""
    return all(cell in cells for cell in contrast.weights)


def _settings(levels: Sequence[int], left_at_0: Collection[int]) -> list[Cell]:
    """Every setting of all factors but some, which stay at 0."""
    ranges = [range(1) if place in left_at_0 else range(count) for place, count in enumerate(levels)]
    return list(itertools.product(*ranges))
