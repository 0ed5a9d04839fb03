"""The order `documents`: each epoch joins the documents in another order and cuts windows, as a function of seed and epoch.

    documents a b c d   ->   epoch 0: c a d b   ->   |c c a|a a d|d b b|...   ->   its windows, in a permuted order
                             epoch 1: b d a c   ->   |b b d|...

So a text that is read many times is never cut at the same places, nor does a document have the same neighbours. Both
permutations are those of `lmlab.data.order`. Memory: 16 bytes a document for each of the two epochs that a batch may touch,
nothing for tokens. Where a window begins follows from the lengths of the documents before it in that epoch's order, by their
cumulative sum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.data.order import DOCUMENTS_OF_AN_EPOCH_NUMBER, WINDOWS_OF_DOCUMENTS_NUMBER, shuffled, windows_in

EPOCHS_HELD = 2
"""A batch is in one epoch, or in two that follow each other."""

Integers = NDArray[np.int64]


class Pieces(NamedTuple):
    """Consecutive tokens of the split that sequences consist of, in order."""

    rows: Integers
    """The sequence of each piece, counted from the first requested one."""
    firsts: Integers
    """The first token of each piece."""
    ends: Integers
    """The token after its last."""


class _Epoch(NamedTuple):
    documents: Integers
    """The documents in this epoch's order."""
    begins: Integers
    """Where each of them begins in the joined text, and its length: [documents + 1]."""


class DocumentStream:
    """A split whose documents are joined in another order each epoch."""

    def __init__(self, tokens: NDArray[np.integer], starts: Integers) -> None:
        """`tokens` is the split, a memory map; `starts` the first token of each document and the number of tokens."""
        self.tokens = tokens
        self._starts = np.asarray(starts)
        self._epochs: dict[tuple[int, int], _Epoch] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def batch_at(self, seed: int, context: int, first: int, count: int) -> tuple[Integers, Integers]:
        """Return inputs and targets of sequences `first` to `first + count - 1`, each int64 [count, context]."""
        pieces = self.pieces(seed, context, first, count)
        lengths = pieces.ends - pieces.firsts
        offsets = np.cumsum(lengths) - lengths
        places = np.repeat(pieces.firsts - offsets, lengths) + np.arange(int(lengths.sum()))
        windows = np.asarray(self.tokens[places]).astype(np.int64).reshape(count, context + 1)
        return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])

    def pieces(self, seed: int, context: int, first: int, count: int) -> Pieces:
        """Return the parts of documents in each of those sequences; raises LabError if the split is shorter than one window."""
        if len(self) < context + 1:
            raise LabError(
                f"the split has {len(self):,} tokens, but a window of model.context {context:,} and its last target take "
                f"{context + 1:,}: use more text or a shorter context"
            )
        size = windows_in(len(self), context)
        windows = shuffled(seed, size, first, count, number=WINDOWS_OF_DOCUMENTS_NUMBER)
        epochs = np.arange(first, first + count, dtype=np.int64) // size
        found = [
            self._in_epoch(
                seed, int(epoch), windows[epochs == epoch] * context, context, int(np.argmax(epochs == epoch))
            )
            for epoch in np.unique(epochs)
        ]
        return Pieces(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def longest_pieces(self, seed: int, context: int, first: int, count: int) -> tuple[Integers, Integers]:
        """Return the longest piece of each of those sequences: its first token and the one after its last, int64 [count]."""
        pieces = self.pieces(seed, context, first, count)
        order = np.lexsort((pieces.firsts - pieces.ends, pieces.rows))
        chosen = order[np.searchsorted(pieces.rows[order], np.arange(count))]
        return pieces.firsts[chosen], pieces.ends[chosen]

    def _in_epoch(self, seed: int, epoch: int, begins: Integers, context: int, row: int) -> Pieces:
        """Return the pieces of the windows at `begins` in an epoch's joined text, the first of which is sequence `row`."""
        held = self._epoch(seed, epoch)
        ends = begins + context + 1
        first = np.searchsorted(held.begins, begins, side="right") - 1
        after = np.searchsorted(held.begins, ends, side="left")
        counts = after - first
        rows = np.repeat(np.arange(len(begins)), counts)
        places = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
        low = np.maximum(begins[rows], held.begins[places])
        high = np.minimum(ends[rows], held.begins[places + 1])
        firsts = self._starts[held.documents[places]] + low - held.begins[places]
        return Pieces(rows + row, firsts, firsts + high - low)

    def _epoch(self, seed: int, epoch: int) -> _Epoch:
        key = (seed, epoch)
        found = self._epochs.get(key)
        if found is None:
            count = len(self._starts) - 1
            documents = shuffled(seed, count, epoch * count, count, number=DOCUMENTS_OF_AN_EPOCH_NUMBER)
            lengths = np.diff(self._starts)[documents]
            found = _Epoch(documents, np.append(0, np.cumsum(lengths)))
            # Replaced and not changed, since another thread may be reading a batch ahead.
            self._epochs = dict([*self._epochs.items(), (key, found)][-EPOCHS_HELD:])
        return found
