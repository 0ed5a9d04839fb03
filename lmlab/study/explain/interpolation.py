"""The choice of interpolating runs between two recipes within a budget.

With few factors all subsets are trained; with more, those that occur in some random orders of adding factors and their reverses.
Where that takes too long, every run gets the same share of its steps: a proxy, which attributes the difference in shorter
trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lmlab import LabError
from lmlab.stats.factorial import Cell
from lmlab.study.grid.design import Factor, cells_of

MOST_EXACT = 5
"""The largest number of factors of which all 2^n subsets are trained."""
PAIRS = 6
"""Pairs of orders: with fewer, the sampling error of orders is hardly known (t of one or two degrees of freedom)."""
SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """The chosen set of interpolating runs."""

    pairs: int
    """Pairs of orders; 0: all subsets."""
    share: float
    """The share of every run's steps."""
    seconds: float
    """Their total time, approximately."""


def choose_interpolation(
    factors: tuple[Factor, ...],
    seeds: int,
    budget: float | None,
    seconds: Callable[[Cell], float],
    there: Mapping[Cell, int] | None = None,
) -> Interpolation:
    """Return the most complete choice that fits `budget` seconds; `seconds` gives a cell's time at all of its steps, and `there`
    how many runs of a cell, at all of its steps, exist already.

    Without a budget nothing is shortened. LabError where nothing fits.
    """
    pairs = 0 if len(factors) <= MOST_EXACT else PAIRS
    cells = cells_of(factors, "subsets", pairs)
    least = float("inf")
    for share in SHARES:
        have = (there or {}) if share == 1 else {}
        total = share * sum(max(0, seeds - have.get(cell, 0)) * seconds(cell) for cell in cells)
        if budget is None or total <= budget:
            return Interpolation(pairs=pairs, share=share, seconds=total)
        least = min(least, total)
    raise LabError(
        f"the interpolating runs take {least:,.0f} s at a {round(1 / SHARES[-1])}th of their steps: expected a longer --budget"
    )
