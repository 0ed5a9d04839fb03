"""What a run trains on: a split as one stream, in its own or another order of documents, windows of its documents, or windows of
tokens that are still unused.

In ranges of unused tokens (`lmlab.data.usage.unused`) each window begins with the last token of the one before it; the rest
at a range's end makes a shorter window if that has half of the targets, since what runs leave unused is mostly one window
between two others. A window never leaves its range, so it holds no used token, not even as its last target. The order is the
keyed permutation of `lmlab.data.order`, for any `data.order`: no window is drawn twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab.data.dataset import Dataset
from lmlab.data.document_order import DocumentStream
from lmlab.data.order import FRESH_NUMBER, batch_at, epoch_length, window_starts
from lmlab.data.ranges import Ranges
from lmlab.data.windows import WindowedTokens, Windows, split_windows
from lmlab.recipe import Recipe


def fresh_windows(unused: Ranges, context: int) -> Windows:
    """Return the windows of `context` inputs in ranges of unused tokens."""
    whole, rest = np.divmod(unused[:, 1] - unused[:, 0] - 1, context)
    # A window with at least half of the targets is worth its place in a batch.
    shorter = 2 * rest >= context
    windows = whole + shorter
    some = windows > 0
    ends = unused[:, 0] + whole * context + np.where(shorter, rest, 0) + 1
    before = np.append(0, np.cumsum(windows[some])).astype(np.int64)
    return Windows(
        context=context,
        stride=context,
        firsts=unused[some, 0],
        ends=ends[some],
        before=before,
        epoch=int(before[-1]),
        order=FRESH_NUMBER,
    )


@dataclass(frozen=True, kw_only=True)
class FreshTokens(WindowedTokens):
    """A training split of which only the windows of unused tokens are read."""

    unused: Ranges
    """The tokens that no earlier run has used."""
    padding: int | None = None


TrainingTokens = NDArray[np.integer] | WindowedTokens | DocumentStream
"""A whole split as one stream, windows of it, or its documents in another order each epoch."""


def training_split(recipe: Recipe, dataset: Dataset) -> TrainingTokens:
    """Return the whole training split as `recipe` reads it; raises LabError if its windows of documents are impossible."""
    windows, tokens = split_windows(recipe, dataset, "train"), dataset.tokens("train")
    if recipe.data.order == "documents":
        return DocumentStream(tokens, dataset.document_starts("train"))
    return tokens if windows is None else WindowedTokens(tokens=tokens, windows=windows)


def training_batch(
    tokens: TrainingTokens, order: str, seed: int, context: int, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs and targets of sequences `first` to `first + count - 1`, each int64 [count, context]."""
    if isinstance(tokens, WindowedTokens):
        return tokens.batch_at(seed, first, count)
    if isinstance(tokens, DocumentStream):
        return tokens.batch_at(seed, context, first, count)
    return batch_at(tokens, order, seed, context, first, count)


def training_spans(
    tokens: TrainingTokens, order: str, seed: int, context: int, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first token of each of those sequences, and the token after its last, both int64 [count]; of a sequence that joins
    documents those of its longest piece.
    """
    if isinstance(tokens, WindowedTokens):
        return tokens.windows.at(seed, first, count)
    if isinstance(tokens, DocumentStream):
        return tokens.longest_pieces(seed, context, first, count)
    starts = window_starts(order, seed, len(tokens), context, first, count)
    return starts, starts + context + 1


def training_pieces(
    tokens: TrainingTokens, order: str, seed: int, context: int, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first token, and the one after the last, of everything that those sequences read: of each sequence its span, or
    its pieces of documents.
    """
    if isinstance(tokens, DocumentStream):
        pieces = tokens.pieces(seed, context, first, count)
        return pieces.firsts, pieces.ends
    return training_spans(tokens, order, seed, context, first, count)


def sequences_an_epoch(tokens: TrainingTokens, order: str, context: int) -> int:
    """Return the number of sequences in one epoch over `tokens`."""
    return tokens.windows.epoch if isinstance(tokens, WindowedTokens) else epoch_length(order, len(tokens), context)
