"""A part of a task's items, fixed by a seed: for a quick look, with all that follows for what it can show.

Of a task with groupings (BLiMP's sets) each finest group gets as many items, or one more. The first n of a larger selection are the
selection of n.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.evaluation.tasks.item import Item


def select(items: Sequence[Item], count: int | None, seed: int) -> NDArray[np.int64]:
    """Return the indices of `count` items (None, or as many as there are: all), ascending. LabError if `count` is below 1."""
    if count is not None and count < 1:
        raise LabError(f"{count} items: expected at least 1")
    if count is None or count >= len(items):
        return np.arange(len(items))
    order = np.random.default_rng(seed).permutation(len(items))
    rank: dict[str, int] = {}
    rounds = np.empty(len(items), dtype=np.int64)
    for place in order.tolist():
        group = items[place].groups[-1] if items[place].groups else ""
        rounds[place] = rank[group] = rank.get(group, -1) + 1
    if len(rank) > 1:
        order = order[np.argsort(rounds[order], kind="stable")]
    return np.sort(order[:count])
