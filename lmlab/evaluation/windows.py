"""Windows of a split, and the unit that each predicted token belongs to. Numpy only.

With context T, window w reads the tokens wT to wT + T - 1 and predicts those from wT + 1 to wT + T. So token p is
predicted once, in window (p - 1) // T, from the window's tokens before it. The split's first token is never predicted,
and the last window is cut off by the end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def windows_in(tokens: int, context: int) -> int:
    """Return the number of windows that predict every token but the first of a split of `tokens` tokens."""
    return -(-(tokens - 1) // context)


def unit_ranges(starts: Integers, tokens: int) -> tuple[Integers, Integers]:
    """Return the first and the end (exclusive) of each unit's predicted tokens; equal if a unit has none.

    `starts` is the first token of each unit, in order, and `tokens` the length of the split.
    """
    return np.maximum(starts, 1), np.maximum(np.append(starts[1:], tokens), 1)


def windows_over(firsts: Integers, ends: Integers, context: int) -> Integers:
    """Return the sorted, unique windows that predict any token of the ranges from `firsts` to before `ends`."""
    filled = ends > firsts
    low = (firsts[filled] - 1) // context
    counts = (ends[filled] - 2) // context - low + 1
    offsets = np.cumsum(counts) - counts
    return np.unique(np.repeat(low - offsets, counts) + np.arange(counts.sum()))


def positions_of(windows: Integers, context: int) -> Integers:
    """Return the positions in the split of each window's inputs and of its last target, [windows, context + 1]."""
    return windows[:, None] * context + np.arange(context + 1)


def units_of(positions: Integers, starts: Integers) -> Integers:
    """Return the unit that each token belongs to: the last one that starts at or before it."""
    return np.searchsorted(starts, positions, side="right") - 1
