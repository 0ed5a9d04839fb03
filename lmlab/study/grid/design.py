"""Factors of a study, and the cells that each design makes of them. Pure values.

    one-factor   the baseline, and each level of each factor alone
    factorial    every combination of levels
    cumulative   the baseline, each level alone, and the levels added one after the other in the order of the factors
    subsets      for each factor's share of a total effect: every combination of factors with one level, or those that occur when
                 factors are added one by one in some random orders and their reverses

The baseline is the recipe itself, with each factor at level 0. A level with the recipe's own setting is level 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmlab import LabError
from lmlab.recipe import Recipe, check, with_settings
from lmlab.stats.factorial import Cell
from lmlab.stats.shapley import cells_in, every_cell, sampled_orders

DesignName = Literal["one-factor", "factorial", "cumulative", "subsets"]
DESIGNS: tuple[DesignName, ...] = ("one-factor", "factorial", "cumulative", "subsets")
MOST_CELLS = 1000
BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class Level:
    """One setting of a factor; several fields may change together."""

    label: str
    settings: Mapping[str, Any]
    """Dotted names with their values."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A setting, or a group of settings, that is varied."""

    name: str
    levels: tuple[Level, ...]
    """Without level 0, which is the recipe's own setting."""


def require_factors(factors: Sequence[Factor], design: DesignName) -> None:
    """Raise LabError where these factors don't fit that design."""
    if design not in DESIGNS:
        raise LabError(f"there is no design {str(design)[:40]!r}: expected one of {', '.join(DESIGNS)}")
    names = [factor.name for factor in factors]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise LabError(f"the factor {twice} is there twice: expected all of its levels in one factor")
    fields = [{name for level in factor.levels for name in level.settings} for factor in factors]
    for (one, theirs), (other, ours) in itertools.combinations(zip(names, fields, strict=True), 2):
        if theirs & ours:
            raise LabError(
                f"the factors {one} and {other} both set {min(theirs & ours)}: a field belongs to one factor"
            )
    if design in ("cumulative", "subsets"):
        several = next((factor for factor in factors if len(factor.levels) > 1), None)
        if several is not None:
            raise LabError(
                f"a {design} design adds one level of each factor, but {several.name} has {len(several.levels)}: expected one, "
                "or another design"
            )


def cells_of(factors: Sequence[Factor], design: DesignName, pairs: int = 0, first_given: bool = False) -> list[Cell]:
    """Return the cells in the order of training, the baseline first; `pairs` of orders where subsets are sampled.

    >>> two = [Factor(name=name, levels=(Level(label="on", settings={}),)) for name in "ab"]
    >>> cells_of(two, "one-factor"), cells_of(two, "cumulative")
    ([(0, 0), (1, 0), (0, 1)], [(0, 0), (1, 0), (0, 1), (1, 1)])
    """
    zero = (0,) * len(factors)
    alone = [
        zero[:place] + (level + 1,) + zero[place + 1 :]
        for place, factor in enumerate(factors)
        for level in range(len(factor.levels))
    ]
    if design == "one-factor":
        cells = [zero, *alone]
    elif design == "cumulative":
        stacked = [(1,) * count + zero[count:] for count in range(2, len(factors) + 1)]
        cells = [zero, *alone, *stacked]
    elif design == "subsets":
        sampled = [
            cell for order in sampled_orders(len(factors), pairs, first_given=first_given) for cell in cells_in(order)
        ]
        cells = list(dict.fromkeys([zero, (1,) * len(factors), *sampled])) if pairs else every_cell(len(factors))
    else:
        cells = list(itertools.product(*(range(len(factor.levels) + 1) for factor in factors)))
    if len(cells) > MOST_CELLS:
        raise LabError(f"a {design} design of these factors has {len(cells):,} cells: expected {MOST_CELLS:,} at most")
    return cells


def stack_cell(factors: Sequence[Factor], count: int) -> Cell:
    """Return the cell of a cumulative design in which the first `count` factors are on."""
    return (1,) * count + (0,) * (len(factors) - count)


def label_of(cell: Cell, factors: Sequence[Factor]) -> str:
    """Describe a cell: what differs from the baseline."""
    parts = [
        f"{factor.name} {factor.levels[level - 1].label}" if factor.levels[level - 1].label != "on" else factor.name
        for factor, level in zip(factors, cell, strict=True)
        if level
    ]
    return " + ".join(parts) or BASELINE


def recipe_of(cell: Cell, factors: Sequence[Factor], base: Recipe) -> Recipe:
    """Return `base` with the levels of that cell; LabError where that isn't a valid recipe."""
    settings: dict[str, Any] = {}
    for factor, level in zip(factors, cell, strict=True):
        if level:
            settings.update(factor.levels[level - 1].settings)
    try:
        return check(with_settings(base, settings))
    except LabError as error:
        raise LabError(f"the cell {label_of(cell, factors)} can't be trained: {error}") from None
