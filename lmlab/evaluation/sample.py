"""A fixed sample of a split's units: the same at each evaluation of a run, and for all runs on this split.

Units are chosen in stretches of consecutive units, because a single unit costs all windows that it overlaps. The split is divided
into as many equal parts as there are stretches in the sample, and of each part the stretch is taken whose first unit's key has the
lowest hash. So the sample is spread over the whole split, and depends only on the text and the requested number of tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.windows import unit_ranges

STRETCHES = 32  # minimum number of stretches, approximately: the sample must not depend on one passage
SHORTEST, LONGEST = 256, 8192  # tokens of a stretch: with a context of 1,024, 8 windows are needed and about 9 are run


def choose_units(units: np.ndarray, split_tokens: int, wanted: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the sorted indices of whole units with about `wanted` predicted tokens in total; all if there are no more.

    `units` has `key` and `start` as in a data set, and `split_tokens` is the length of the split. The total deviates from `wanted`
    the more the units differ in length; at least one stretch is chosen.
    """
    starts = np.asarray(units["start"], dtype=np.int64)
    firsts, ends = unit_ranges(starts, split_tokens)
    total = int((ends - firsts).sum())
    if wanted >= total:
        return np.arange(len(units))
    length = min(max(wanted // STRETCHES, SHORTEST), LONGEST)
    heads = np.flatnonzero(np.diff(starts // length, prepend=-1))
    parts = min(max(1, round(wanted * len(heads) / total)), len(heads))
    part_of = np.arange(len(heads)) * parts // len(heads)
    order = np.lexsort((_hashes(units["key"][heads], seed), part_of))
    lowest = order[np.flatnonzero(np.diff(part_of, prepend=-1))]
    chosen = np.zeros(len(heads), dtype=bool)
    chosen[lowest] = True
    return np.flatnonzero(np.repeat(chosen, np.diff(np.append(heads, len(units)))))


def _hashes(keys: np.ndarray, seed: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each 32-byte key: its first 8 bytes, which are a hash already, mixed with the seed."""
    words = np.frombuffer(np.ascontiguousarray(keys).tobytes(), dtype="<u8").reshape(len(keys), -1)[:, 0]
    return _mixed(words ^ _mixed(np.full(1, seed, dtype=np.uint64)))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the output function of SplitMix64 (Steele, Lea and Flood 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
