"""64-bit hashes of many spans of one array at once; keyed, and identical on every machine.

The hash of a span is a polynomial in its elements' random values: h(v) = sum of v[i] * M^i mod 2^64 with an odd M. So the
hash of every span of an array follows from one running sum (Karp and Rabin, 1987), and the inverse of M shifts a span
to the origin. Random values in place of the elements avoid collisions between texts of few different symbols.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

M = 0x9E3779B97F4A7C15
INVERSE = pow(M, -1, 1 << 64)


def random_words(key: str, count: int) -> np.ndarray:
    """Return uint64 [count]: random values determined by the key, identical on every machine."""
    return np.frombuffer(hashlib.shake_128(key.encode()).digest(8 * count), dtype="<u8").astype(np.uint64)


def mixed(words: np.ndarray) -> np.ndarray:
    """Return uint64 of the same shape, each output bit depending on all bits of its input word: SplitMix64's finaliser (Steele,
    Lea and Flood, 2014).
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = words ^ (words >> np.uint64(31))
    return found


def span_hashes(values: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return uint64 [spans]: the hash of values[begin:end] for each begin and end (int64 [spans]); `values` is uint64."""
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers(len(values)), out=sums[1:])
    found: np.ndarray = (sums[ends] - sums[begins]) * inverse_powers(len(values) + 1)[begins]
    return found


def window_hashes(values: np.ndarray, length: int) -> np.ndarray:
    """Return uint64 [len(values) - length + 1]: the hash of every window of `length` values; empty if there are fewer values."""
    count = max(0, len(values) - length + 1)
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers(len(values)), out=sums[1:])
    found: np.ndarray = (sums[length : length + count] - sums[:count]) * inverse_powers(count)
    return found


def powers(count: int) -> np.ndarray:
    """Return uint64 [count]: M^0, M^1, ... mod 2^64."""
    return _powers(M, _table_size(count))[:count]


def inverse_powers(count: int) -> np.ndarray:
    """Return uint64 [count]: M^0, M^-1, ... mod 2^64."""
    return _powers(INVERSE, _table_size(count))[:count]


def _table_size(count: int) -> int:
    """Return the next power of two, so that few different tables are cached."""
    return 1 << max(10, (count - 1).bit_length())


@lru_cache(maxsize=4)
def _powers(base: int, count: int) -> np.ndarray:
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    table = np.cumprod(factors, dtype=np.uint64)
    table.flags.writeable = False
    return table
