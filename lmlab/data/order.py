"""The order of the batches: the tokens of the k-th training sequence, as a pure function of the seed and k.

Input: the name of the order, a seed, the number of tokens in the split, the context length, a range of sequence numbers. Output:
where those sequences start. Nothing is stored, so any batch can be computed at any time, by any rank, in any partition.

    shuffle   the split is cut into W = (tokens - 1) // context windows; sequence k is the window at place k % W of the
              epoch k // W, and each epoch is another permutation of the windows: a Feistel network on a grid of
              rows x columns >= W cells (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). The grid
              has less than one surplus row, so cycle walking out of the surplus cells is short.
    shifted   as shuffle, but each epoch cuts its windows at another offset below the context, so that a text read many
              times is cut into different windows each time. The offsets of consecutive epochs are the low-discrepancy
              sequence of the golden ratio (Knuth, Art of Computer Programming 3, 6.4, theorem S). To leave space for the
              offset, W = (tokens - context) // context, but at least one if one fits.
    random    sequence k starts anywhere, from a hash of (seed, k) (windows with replacement, as nanoGPT draws them).
    documents each epoch joins the documents in another order before it cuts windows: `lmlab.data.document_order`.

The mixing of bits is that of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError

Words = NDArray[np.uint64]

ROUNDS = 12
"""Rounds of the Feistel network. Four are enough for many windows (Luby and Rackoff, 1988); with 8, the orders of 5 or 6
windows were measurably uneven, with 12 hardly."""

GOLDEN = 0x9E3779B97F4A7C15
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
ROUND_KEYS = np.array([[(2 * index + 1) * GOLDEN % 2**64] for index in range(ROUNDS)], dtype=np.uint64)
ORDER_NUMBERS = {"shuffle": 1, "random": 2, "shifted": 3}
"""Separates the random streams of the orders at the same seed."""
FRESH_NUMBER, DOCUMENTS_NUMBER = 4, 5
"""For the windows of unused tokens (`lmlab.data.fresh`) and of documents (`lmlab.data.windows`), which are no orders of their
own in a recipe."""
WINDOWS_OF_DOCUMENTS_NUMBER, DOCUMENTS_OF_AN_EPOCH_NUMBER = 6, 7
"""For the windows and the documents of the order `documents` (`lmlab.data.document_order`)."""
BATCHES_OF_BUCKETS_NUMBER = 8
"""For the batches of windows of similar length (`lmlab.data.packing`)."""


def windows_in(tokens: int, context: int) -> int:
    """Return the number of adjacent windows of `context` inputs, each with a target after its last, in `tokens` tokens."""
    return max(0, (tokens - 1) // context)


def epoch_length(order: str, tokens: int, context: int) -> int:
    """Return the number of sequences in an epoch over `tokens` tokens: the windows that the order cuts."""
    if order == "shifted":
        return max(windows_in(tokens - context + 1, context), min(1, windows_in(tokens, context)))
    return windows_in(tokens, context)


def window_starts(order: str, seed: int, tokens: int, context: int, first: int, count: int) -> NDArray[np.int64]:
    """Return the start token of each of the sequences `first` to `first + count - 1`, int64 [count].

    A start is at most tokens - context - 1, so that the sequence's last target is in the split. Raises LabError for an
    unknown order, and if the split is shorter than one window with its last target.
    """
    if order not in ORDER_NUMBERS:
        raise LabError(f"data.order is '{order}': expected one of {', '.join(ORDER_NUMBERS)}")
    if tokens < context + 1:
        raise LabError(
            f"the split has {tokens:,} tokens, but a window of model.context {context:,} and its last target take "
            f"{context + 1:,}: use more text or a shorter context"
        )
    numbers = np.arange(first, first + count, dtype=np.uint64)
    key = _key(ORDER_NUMBERS[order], seed)
    if order == "random":
        # Modulo bias: small starts are favoured by less than tokens / 2**64, which is below 1e-7 at 10**12 tokens.
        draws = _mixed(_mixed(numbers * np.uint64(GOLDEN) + key))
        return (draws % np.uint64(tokens - context)).astype(np.int64)
    size = epoch_length(order, tokens, context)
    epochs, places = np.divmod(numbers, np.uint64(size))
    turns = epochs * np.uint64(GOLDEN) + key
    starts = _permuted(places, _mixed(turns), size).astype(np.int64) * context
    return starts + _offsets(turns, min(context, tokens - size * context)) if order == "shifted" else starts


def shifts(seed: int, tokens: int, context: int, first: int, count: int) -> NDArray[np.int64]:
    """Return the offset of the windows in each of the epochs `first` to `first + count - 1` of the order `shifted`, int64
    [count].
    """
    epochs = np.arange(first, first + count, dtype=np.uint64)
    turns = epochs * np.uint64(GOLDEN) + _key(ORDER_NUMBERS["shifted"], seed)
    return _offsets(turns, min(context, tokens - epoch_length("shifted", tokens, context) * context))


def shuffled(
    seed: int, size: int, first: int, count: int, *, number: int = FRESH_NUMBER, epoch: int | None = None
) -> NDArray[np.int64]:
    """Return the window, out of `size`, of each of those sequences, int64 [count]; each window occurs once an epoch.

    An epoch may have more sequences than there are windows: the surplus sequences are -1. The order differs from `shuffle` at
    the same seed, and for each `number`.
    """
    epochs, places = np.divmod(np.arange(first, first + count, dtype=np.uint64), np.uint64(epoch or size))
    turns = epochs * np.uint64(GOLDEN) + _key(number, seed)
    there = places < size
    windows = np.full(count, -1, dtype=np.int64)
    windows[there] = _permuted(places[there], _mixed(turns[there]), size).astype(np.int64)
    return windows


def batch_at(
    tokens: NDArray[np.integer], order: str, seed: int, context: int, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs and targets (the inputs shifted by one token) of those sequences, each int64 [count, context].

    `tokens` is the split, a memory map of any integer type; only the windows' own tokens are read.
    """
    starts = window_starts(order, seed, len(tokens), context, first, count)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(tokens), context + 1)[starts]
    return windows[:, :-1].astype(np.int64, order="C"), windows[:, 1:].astype(np.int64, order="C")


@functools.lru_cache(maxsize=16)
def _key(number: int, seed: int) -> Words:
    """Return the start of the random stream for that order number and seed, uint64 [1]."""
    return _mixed(_mixed(np.array([seed % 2**64], dtype=np.uint64)) + np.uint64(number))


def _offsets(turns: Words, slack: int) -> NDArray[np.int64]:
    """Return the offset of the windows in each epoch: the upper half of its turn, scaled to [0, slack)."""
    return ((turns >> np.uint64(32)) * np.uint64(slack) >> np.uint64(32)).astype(np.int64)


def _permuted(places: Words, keys: Words, size: int) -> Words:
    """Return the image of each place below `size` under the permutation of its key."""
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    cells = _network(places, keys, rows, columns)
    # Cycle walking: a cell outside is mapped again until it is inside, which gives a permutation of the inside cells.
    outside = np.flatnonzero(cells >= size)
    while outside.size:
        cells[outside] = _network(cells[outside], keys[outside], rows, columns)
        outside = outside[cells[outside] >= size]
    return cells


def _network(cells: Words, keys: Words, rows: int, columns: int) -> Words:
    """Return the cells after one pass of the Feistel network: row and column in turn are shifted by a keyed hash of the other."""
    moved, fixed = np.divmod(cells, np.uint64(columns))
    sizes = (np.uint64(rows), np.uint64(columns))
    for index, round_keys in enumerate(keys + ROUND_KEYS):
        words = fixed + round_keys
        words *= FIRST_FACTOR
        words ^= words >> np.uint64(32)
        words *= SECOND_FACTOR
        # 48 bits: the sum with a row or column number can't overflow, and the remainder's bias stays below 2**-16
        # for splits of 10**18 tokens.
        words >>= np.uint64(16)
        words += moved
        words %= sizes[index % 2]
        moved, fixed = fixed, words
    # After an even number of rounds `moved` is the row again.
    return moved * np.uint64(columns) + fixed


def _mixed(words: Words) -> Words:
    """Apply SplitMix64's step and finaliser: a bijection in which every input bit flips about half of the 64 output bits."""
    words = words + np.uint64(GOLDEN)
    words ^= words >> np.uint64(30)
    words *= FIRST_FACTOR
    words ^= words >> np.uint64(27)
    words *= SECOND_FACTOR
    words ^= words >> np.uint64(31)
    return words
