"""Fewer points of a long curve that look the same: the lowest and the highest of each stretch (min/max decimation)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def kept_places(values: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Return the places of at most `most` (5 or more) of the values, ascending, for drawing.

    The first and the last value are kept; what lies between is divided into stretches of equal length, of which the lowest and the
    highest value are kept, so that no spike disappears. A value that isn't finite is kept once a stretch, as a gap of the line.
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    of_each = 2 if np.isfinite(values).all() else 3
    edges = np.linspace(1, count - 1, max(1, (most - 2) // of_each) + 1).astype(int)
    kept = {0, count - 1}
    for begin, end in zip(edges, edges[1:], strict=False):
        stretch = values[begin:end]
        finite = np.flatnonzero(np.isfinite(stretch))
        if len(finite):
            kept.add(int(begin + finite[np.argmin(stretch[finite])]))
            kept.add(int(begin + finite[np.argmax(stretch[finite])]))
        if len(finite) < len(stretch):
            kept.add(int(begin + np.flatnonzero(~np.isfinite(stretch))[0]))
    return np.asarray(sorted(kept))
