"""MinHash: short signatures of sets of shingles, and candidate pairs of similar sets (Broder, 1997).

Two sets agree in one minimum with the probability of their Jaccard similarity s = |A and B| / |A or B|. A signature is
BANDS bands of ROWS minima, and two passages are candidates where a whole band agrees (Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, 3.4): with the probability 1 - (1 - s^ROWS)^BANDS, which is 0.991 at s = 0.8, 0.145 at 0.5
and 0.004 at 0.3. The caller must compare the sets of candidates themselves.
"""

from __future__ import annotations

import numpy as np

from lmlab.data.hygiene.hashing import mixed, random_words

BANDS = 20
ROWS = 7
NEIGHBOURS = 8
"""In a group that agrees in a band, members up to this distance apart are paired, and each with the group's first: all pairs
of a small group, few of a large one."""

FACTORS = (random_words("lmlab minhash: factors", BANDS * ROWS) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
ADDENDS = (random_words("lmlab minhash: addends", BANDS * ROWS) >> np.uint64(32)).astype(np.uint32)
PLACES = random_words("lmlab minhash: places", ROWS) | np.uint64(1)


def signatures(hashes: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return uint32 [BANDS * ROWS, passages]: the minima of each passage's shingles under each hash function.

    `hashes` is uint64 [shingles], `first` int64 [passages] the first shingle of each passage, which has at least one.
    The functions are x -> a x + b mod 2^32 over the shingles' upper halves, which are random already.
    """
    upper = (hashes >> np.uint64(32)).astype(np.uint32)
    minima = np.empty((len(FACTORS), len(first)), np.uint32)
    image = np.empty_like(upper)
    for row in range(len(FACTORS)):
        np.multiply(upper, FACTORS[row], out=image)
        np.add(image, ADDENDS[row], out=image)
        minima[row] = np.minimum.reduceat(image, first)
    return minima


def band_keys(minima: np.ndarray) -> np.ndarray:
    """Return uint64 [BANDS, passages]: keys that are equal if all minima of a band are."""
    rows = minima.reshape(BANDS, ROWS, -1).astype(np.uint64)
    return mixed((rows * PLACES[:, None]).sum(axis=1, dtype=np.uint64))


def candidates(keys: np.ndarray) -> np.ndarray:
    """Return int64 [pairs, 2]: pairs (smaller index first, sorted) with equal keys of one band, uint64 [passages]."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    found = []
    for distance in range(1, NEIGHBOURS):
        equal = np.flatnonzero(ordered[distance:] == ordered[:-distance])
        if not len(equal):
            break
        found.append(np.stack([order[equal], order[equal + distance]], axis=1))
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))[: len(ordered)]
    sizes = np.diff(np.append(begins, len(ordered)))
    far = sizes > NEIGHBOURS
    if far.any():
        members = np.concatenate(
            [np.arange(begin + 1, begin + size) for begin, size in zip(begins[far], sizes[far], strict=True)]
        )
        found.append(np.stack([order[np.repeat(begins[far], sizes[far] - 1)], order[members]], axis=1))
    if not found:
        return np.empty((0, 2), np.int64)
    return np.unique(np.concatenate(found), axis=0)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity of two sets of hashes, each sorted and without repeats (np.unique); 0 if both are empty."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - shared
    return shared / union if union else 0.0
