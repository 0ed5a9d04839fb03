"""Which bridging runs to make between two recipes, so that they fit a budget.

With few factors all subsets are trained; with more, those on the way in some random orders and their reverses. Where that takes too
long, every run gets the same share of its steps: a proxy, which says how the differences come about in shorter trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lmlab import LabError
from lmlab.stats.factorial import Cell
from lmlab.study.design import Factor, cells_of

MOST_EXACT = 5
"""Factors of which all 2^n subsets are trained."""
PAIRS = 6
"""Of orders: with fewer, what other orders would have told is hardly known (t of one or two degrees of freedom)."""
SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """What is made."""

    pairs: int
    """Of orders; 0: all subsets."""
    share: float
    """Of every run's steps."""
    seconds: float
    """All of it, roughly."""


def choose_interpolation(
    factors: tuple[Factor, ...],
    seeds: int,
    budget: float | None,
    seconds: Callable[[Cell], float],
    there: Mapping[Cell, int] | None = None,
) -> Interpolation:
    """The fullest choice that fits `budget` seconds; `seconds` gives a cell's time at all of its steps, and `there` says how many
    runs of a cell, with all of these, need no training.

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
        f"the bridging runs take {least:,.0f} s at a {round(1 / SHARES[-1])}th of their steps: expected a longer --budget"
    )
