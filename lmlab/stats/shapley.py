"""Shapley values: the contribution of each of several changes made together, averaged over the order in which they are made.

v(S) is the result with the changes in S. The value of change i is its marginal effect v(S + i) - v(S), averaged over every order in
which all changes can be made (Shapley 1953, A value for n-person games):

    phi_i = sum over S without i of  |S|! (n - |S| - 1)! / n!  (v(S + i) - v(S))

so that the values sum to v(all) - v(none), and an interaction of two changes is shared equally. Each is a contrast of the cells
of a 2 x 2 x ... experiment. With many changes a sample of orders is used (Castro et al. 2009); orders come in pairs,
one the reverse of the other, which makes the average exact if interactions are pairwise only (Mitchell et al. 2022, section 3).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from lmlab.stats.factorial import Cell, Contrast, difference

Order = tuple[int, ...]
"""Changes in the order in which they are made."""


def every_cell(changes: int) -> list[Cell]:
    """Return all sets of changes as cells of 0 and 1, starting with the empty and the full set."""
    cells = sorted(
        itertools.product((0, 1), repeat=changes), key=lambda cell: (sum(cell) not in (0, changes), sum(cell), cell)
    )
    return [cell for cell in cells if changes or not cell]


def exact_values(changes: int) -> list[Contrast]:
    """Return the Shapley value of each change as a contrast of all cells.

    >>> exact_values(2)[0].weights
    {(0, 0): -0.5, (0, 1): -0.5, (1, 0): 0.5, (1, 1): 0.5}
    """
    found = []
    for change in range(changes):
        whole: dict[Cell, float] = {}
        for cell in itertools.product((0, 1), repeat=changes):
            size = sum(cell) - cell[change]
            share = math.factorial(size) * math.factorial(changes - size - 1) / math.factorial(changes)
            whole[cell] = share if cell[change] else -share
        found.append(Contrast(whole))
    return found


def sampled_orders(changes: int, pairs: int, seed: int = 0, first_given: bool = False) -> list[Order]:
    """Return `pairs` random orders, each followed by its reverse; with `first_given` the first order is 0, 1, 2, ..."""
    generator = np.random.default_rng(seed)
    firsts = [tuple(range(changes))] if first_given else []
    while len(firsts) < pairs:
        firsts.append(tuple(int(one) for one in generator.permutation(changes)))
    return [order for first in firsts[:pairs] for order in (first, first[::-1])]


def cells_in(order: Order) -> list[Cell]:
    """Return the cells passed through from no changes to all changes, in that order.

    >>> cells_in((1, 0))
    [(0, 0), (0, 1), (1, 1)]
    """
    cell = [0] * len(order)
    cells = [tuple(cell)]
    for change in order:
        cell[change] = 1
        cells.append(tuple(cell))
    return cells


def values_in(orders: Sequence[Order]) -> list[Contrast]:
    """Return the mean marginal effect of each change over these orders, as a contrast."""
    found = []
    for change in range(len(orders[0])):
        whole = Contrast({})
        for order in orders:
            whole = whole.plus(_step(order, change), 1 / len(orders))
        found.append(whole)
    return found


def sampling_error(orders: Sequence[Order], change: int, values: Mapping[Cell, float]) -> float:
    """Return the standard error of a change's value due to sampling orders, from the differences between pairs of orders.

    NaN with fewer than two pairs.
    """
    pairs = [
        (_step(orders[at], change).value(values) + _step(orders[at + 1], change).value(values)) / 2
        for at in range(0, len(orders) - 1, 2)
    ]
    return float(np.std(pairs, ddof=1)) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.nan


def _step(order: Order, change: int) -> Contrast:
    """Return the contrast of making `change` at its place in the order."""
    place = order.index(change)
    before, after = cells_in(order)[place : place + 2]
    return difference(after, before)
