"""Windows of whole documents: several in one window, or those of similar length in one batch.

    packed     consecutive documents share a window while they fit in it whole (next-fit)
    bucketed   an epoch's windows are permuted, cut into pools of POOL batches, sorted by length inside each pool and cut into
               batches; the batches of an epoch are permuted again. So a batch needs little padding, and its windows differ from
               epoch to epoch.

Both are pure functions: packing of the documents alone, bucketing of seed and sequence number.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmlab.data.order import BATCHES_OF_BUCKETS_NUMBER, shuffled

POOL = 32
"""Batches whose windows are sorted together."""

Integers = NDArray[np.int64]


def packed_spans(starts: Integers, context: int) -> tuple[Integers, Integers]:
    """Return the first token of each window of whole documents, and the one after its last; of a longer document its beginning.

    `starts` is the first token of each document and the number of tokens, int64 [documents + 1]; a window has at most context + 1
    tokens.
    """
    firsts: list[int] = []
    ends: list[int] = []
    for start, stop in pairwise(np.asarray(starts).tolist()):
        if firsts and stop - firsts[-1] <= context + 1:
            ends[-1] = stop
        else:
            firsts.append(start)
            ends.append(min(stop, start + context + 1))
    return np.array(firsts, np.int64), np.array(ends, np.int64)


def bucketed(lengths: Integers, seed: int, batch: int, first: int, count: int, number: int) -> Integers:
    """Return the window of each of those sequences, int64 [count]; -1 for the sequences that complete an epoch's last batch.

    `lengths` are the tokens of each window, [windows]; `number` separates the permutation of windows from others of the seed.
    """
    batches = -(-len(lengths) // batch)
    epoch, pools = batches * batch, dict[tuple[int, int], Integers]()
    found = []
    for place in range(first // batch, -(-(first + count) // batch)):
        turn = place // batches
        chosen = int(shuffled(seed, batches, place, 1, number=BATCHES_OF_BUCKETS_NUMBER)[0])
        pool = chosen // POOL
        if (turn, pool) not in pools:
            begin = pool * POOL * batch
            size = min(POOL * batch, epoch - begin)
            windows = shuffled(seed, len(lengths), turn * epoch + begin, size, number=number, epoch=epoch)
            # No window counts as the longest one: it stands last.
            order = np.argsort(np.where(windows < 0, np.iinfo(np.int64).max, lengths[windows]), kind="stable")
            pools[turn, pool] = windows[order]
        rows = (chosen - pool * POOL) * batch
        found.append(pools[turn, pool][rows : rows + batch])
    begin = first - first // batch * batch
    return np.concatenate([*found, np.empty(0, np.int64)])[begin : begin + count]
