"""Sets of tokens as ranges: int64 [ranges, 2], each a first token and the one after its last, sorted and disjoint.

Memory grows with the number of ranges, never with the tokens in them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ranges = NDArray[np.int64]


def no_tokens() -> Ranges:
    """Return the empty set."""
    return np.empty((0, 2), np.int64)


def ranges(firsts: ArrayLike, ends: ArrayLike) -> Ranges:
    """Return the union of the ranges [first, end), which may be unsorted and overlap; adjacent ranges are merged."""
    begins, stops = np.asarray(firsts, np.int64), np.asarray(ends, np.int64)
    filled = stops > begins
    begins, stops = begins[filled], stops[filled]
    if not len(begins):
        return no_tokens()
    order = np.argsort(begins, kind="stable")
    begins, reach = begins[order], np.maximum.accumulate(stops[order])
    apart = np.flatnonzero(np.append(True, begins[1:] > reach[:-1]))
    return np.stack([begins[apart], reach[np.append(apart[1:], len(begins)) - 1]], axis=1)


def union(one: Ranges, other: Ranges) -> Ranges:
    """Return the union of two sets."""
    return ranges(np.append(one[:, 0], other[:, 0]), np.append(one[:, 1], other[:, 1]))


def within(found: Ranges, tokens: int) -> Ranges:
    """Return the tokens of `found` below `tokens`."""
    return ranges(found[:, 0], np.minimum(found[:, 1], tokens))


def outside(found: Ranges, first: int, end: int) -> Ranges:
    """Return the tokens of [first, end) that are not in `found`."""
    begins = np.maximum(np.append(first, found[:, 1]), first)
    return ranges(begins, np.minimum(np.append(found[:, 0], end), end))


def size(found: Ranges) -> int:
    """Return the number of tokens."""
    return int((found[:, 1] - found[:, 0]).sum())
