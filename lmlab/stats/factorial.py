"""Effects and interactions of the factors of an experiment, as contrasts: weighted sums of cell means.

A cell gives the level of each factor; level 0 is the reference:

    (0, 0) -> mean    (1, 0) -> mean    (0, 1) -> mean    (1, 1) -> mean

A contrast's weights sum to 0. If cells have independent runs, each with variance s^2, its variance is s^2 times the sum of
w^2 / n over the cells (Montgomery, Design and Analysis of Experiments, section 3.5). A main effect is the mean over all settings of
the other factors; an interaction of two factors is how much the effect of one changes with the other, also a mean (section
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
"""Weights smaller than this are rounding errors of weights that cancel, and are dropped."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of cell means."""

    weights: Mapping[Cell, float]
    """Weight of each cell. The weights sum to 0; cells without a weight are not used."""

    def value(self, means: Mapping[Cell, float]) -> float:
        """Return the weighted sum over the cells; raises KeyError if a cell has no mean."""
        return math.fsum(weight * means[cell] for cell, weight in self.weights.items())

    def runs(self, counts: Mapping[Cell, int]) -> tuple[float, float]:
        """Return the effective number of runs on each side: the variance of the contrast is s^2 (1/first + 1/second).

        The first side has the positive weights. `counts` is the number of runs of each cell.
        """
        plus = math.fsum(weight**2 / counts[cell] for cell, weight in self.weights.items() if weight > 0)
        minus = math.fsum(weight**2 / counts[cell] for cell, weight in self.weights.items() if weight < 0)
        return 1 / plus, 1 / minus

    def plus(self, other: Contrast, times: float = 1.0) -> Contrast:
        """Return this contrast plus `times` the other."""
        cells = {*self.weights, *other.weights}
        summed = {cell: self.weights.get(cell, 0.0) + times * other.weights.get(cell, 0.0) for cell in sorted(cells)}
        return Contrast({cell: weight for cell, weight in summed.items() if weight})

    def merged(self, same: Mapping[Cell, Cell]) -> Contrast:
        """Return the contrast with cells replaced: each weight moves to the cell that `same` maps its cell to, if any."""
        summed: dict[Cell, float] = {}
        for cell, weight in self.weights.items():
            summed[same.get(cell, cell)] = summed.get(same.get(cell, cell), 0.0) + weight
        return Contrast({cell: weight for cell, weight in summed.items() if abs(weight) > SMALLEST_WEIGHT})


def difference(one: Cell, other: Cell) -> Contrast:
    """Return `one` minus `other`.

    >>> difference((1, 0), (0, 0)).weights
    {(1, 0): 1.0, (0, 0): -1.0}
    """
    return Contrast({one: 1.0, other: -1.0})


def main_effect(levels: Sequence[int], factor: int, level: int) -> Contrast:
    """Return the effect of `level` of a factor relative to level 0, averaged over all settings of the other factors. `levels` is
    the number of levels of each factor.

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
    """Return how much the effect of `one` (factor, level) changes when `other` is set too: (both - second) - (first - neither).

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
    """Return whether `cells` contains every cell of the contrast."""
    return all(cell in cells for cell in contrast.weights)


def _settings(levels: Sequence[int], left_at_0: Collection[int]) -> list[Cell]:
    """Return every combination of levels, with the factors in `left_at_0` fixed at level 0."""
    ranges = [range(1) if place in left_at_0 else range(count) for place, count in enumerate(levels)]
    return list(itertools.product(*ranges))
