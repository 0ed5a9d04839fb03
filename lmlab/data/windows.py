"""Windows inside ranges of a split: of at most context + 1 tokens each, and none holds a token of two ranges.

In: where ranges begin and end, the context length and the stride. Out: which windows there are, which tokens each holds, and
batches of them, filled up with targets that count in no loss. Ranges are the documents of a split (`data.windows documents`)
or what runs have left unused (`lmlab.data.fresh`). Memory grows with the ranges, and not with the windows in them.

A document of n tokens, those that begin and end it included, and windows of w = context + 1:

    n <= w   one window, filled up to w
    n > w    windows at 0, stride, 2 stride, ... as far as whole ones fit; what is left behind the last one is in no window

A window's first token is given and all others are its targets, so with a stride below the context a token is a target in
several windows. An epoch is a keyed permutation of all windows (`lmlab.data.order`). Its last batch is short: what it lacks
are sequences without a target, so that an epoch is a whole number of batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.order import DOCUMENTS_NUMBER, shuffled
from lmlab.data.ranges import Ranges, ranges
from lmlab.recipe import Recipe

IGNORED_TARGET = -100
"""Targets that count in no loss, torch's own convention: they fill up a window that is shorter than the others."""
PADDING = 0
"""The input beyond a document's end (of words it is PAD); nothing before it sees it."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows in ranges of tokens, numbered in the order of the split."""

    context: int
    stride: int
    """Tokens from one window of a range to the next."""
    firsts: Integers
    """The first token of each range that has windows, [ranges]."""
    ends: Integers
    """The token after its last window, [ranges]."""
    before: Integers
    """Windows in the ranges before it, and last in all: [ranges + 1]."""
    epoch: int
    """Sequences of an epoch: the windows, and as many empty ones as make whole batches."""
    order: int
    """Which permutation of them it is (`lmlab.data.order.shuffled`)."""

    @property
    def count(self) -> int:
        """How many windows there are."""
        return int(self.before[-1])

    @property
    def targets(self) -> int:
        """How many targets all windows have together."""
        windows = np.diff(self.before)
        return int(((windows - 1) * self.context + self.ends - self.firsts - (windows - 1) * self.stride - 1).sum())

    def held(self) -> Ranges:
        """Return the tokens of all windows."""
        return ranges(self.firsts, self.ends)

    def spans(self, windows: Integers) -> tuple[Integers, Integers]:
        """Return the first token of each of these windows, and the one after its last; both 0 for -1, which is none."""
        place = np.searchsorted(self.before, windows, side="right") - 1
        starts = self.firsts[place] + (windows - self.before[place]) * self.stride
        ends = np.minimum(starts + self.context + 1, self.ends[place])
        return np.where(windows < 0, 0, starts), np.where(windows < 0, 0, ends)

    def at(self, seed: int, first: int, count: int) -> tuple[Integers, Integers]:
        """Return the same of the sequences number `first` to `first + count - 1` of the stream of a seed."""
        return self.spans(shuffled(seed, self.count, first, count, number=self.order, epoch=self.epoch))

    def over(self, firsts: Integers, ends: Integers) -> Integers:
        """Return the windows, in order and each once, with a target among the tokens from `firsts` to before `ends`."""
        filled = ends > firsts
        low, high = self._ending_after(firsts[filled]), self._beginning_before(ends[filled] - 1)
        counts = np.maximum(high - low, 0)
        offsets = np.cumsum(counts) - counts
        return np.unique(np.repeat(low - offsets, counts) + np.arange(counts.sum()))

    def targets_in(self, firsts: Integers, ends: Integers) -> Integers:
        """Return how many targets lie from each of `firsts` to before each of `ends`: a token counts once in every window."""
        windows = np.arange(self.count)
        starts, stops = self.spans(windows)
        sizes, sums = (np.append(0, np.cumsum(values)) for values in (stops - starts - 1, starts))

        def before(tokens: Integers) -> Integers:
            # Windows that end by then count whole; of those that have begun, the targets up to there.
            whole = np.searchsorted(stops, tokens, side="right")
            begun = np.maximum(np.searchsorted(starts, tokens - 1, side="left"), whole)
            return sizes[whole] + (begun - whole) * (tokens - 1) - (sums[begun] - sums[whole])

        return np.where(ends > firsts, before(np.maximum(ends, firsts)) - before(firsts), 0)

    def _ending_after(self, tokens: Integers) -> Integers:
        """Return the first window that ends after each of these tokens."""
        place = np.maximum(np.searchsorted(self.firsts, tokens, side="right") - 1, 0)
        inside = -((self.context + self.firsts[place] - tokens) // self.stride)
        inside = np.clip(inside, 0, np.diff(self.before)[place])
        return np.where(tokens < self.ends[place], self.before[place] + inside, self.before[place + 1])

    def _beginning_before(self, tokens: Integers) -> Integers:
        """Return the first window that doesn't begin before each of these tokens."""
        place = np.searchsorted(self.firsts, tokens - 1, side="right") - 1
        inside = (tokens - 1 - self.firsts[place]) // self.stride + 1
        inside = np.clip(inside, 0, np.diff(self.before)[place])
        return np.where(place < 0, 0, self.before[place] + inside)


def document_windows(starts: Integers, context: int, stride: int | None = None, batch: int = 1) -> Windows:
    """Return the windows of documents, each by itself.

    `starts` is the first token of each document and last the number of tokens, int64 [documents + 1]; `stride` None is the
    context, so that each token is a target once at most. An epoch is a whole number of batches of `batch` windows.
    """
    stride = stride or context
    lengths = np.diff(starts)
    # A token alone has no target; only the beginning of a document that a view cuts off can be so short.
    windows = np.where(lengths < 2, 0, 1 + np.maximum(lengths - context - 1, 0) // stride)
    some = windows > 0
    ends = starts[:-1] + np.minimum(lengths, (windows - 1) * stride + context + 1)
    before = np.append(0, np.cumsum(windows[some])).astype(np.int64)
    return Windows(
        context=context,
        stride=stride,
        firsts=np.asarray(starts[:-1])[some],
        ends=ends[some],
        before=before,
        epoch=-(-int(before[-1]) // batch) * batch,
        order=DOCUMENTS_NUMBER,
    )


def split_windows(recipe: Recipe, dataset: Dataset, split: str) -> Windows | None:
    """Return the windows of documents in which `recipe` reads a split; None if it reads it as one stream.

    LabError where the data set's documents don't begin with a token of their own, so that nothing could predict their first.
    """
    data = recipe.data
    if data.windows == "stream":
        return None
    if dataset.begin_of_text is None:
        raise LabError(
            f"data set {dataset.id} was prepared as one stream, but data.windows is documents: expected a data set that was "
            "prepared with --data.windows documents"
        )
    return document_windows(dataset.document_starts(split), recipe.model.context, data.stride, recipe.train.batch)


@dataclass(frozen=True, kw_only=True)
class WindowedTokens:
    """A split of which windows in ranges are read."""

    tokens: NDArray[np.integer]
    """The whole split, memory-mapped."""
    windows: Windows
    padding: int | None = PADDING
    """What fills up the inputs of a window that ends early; None: its own last token."""

    def batch_at(self, seed: int, first: int, count: int) -> tuple[Integers, Integers]:
        """Return inputs and targets of those sequences of the stream, each int64 [count, context]."""
        return self.batch_of(*self.windows.at(seed, first, count))

    def batch_of(self, starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
        """Return inputs and targets of the windows that begin and end there, each int64 [windows, context].

        A window that ends early is filled up with `padding`, which nothing before it sees, and IGNORED_TARGET.
        """
        places = starts[:, None] + np.arange(self.windows.context + 1)
        inside = places < ends[:, None]
        held = np.asarray(self.tokens)[np.minimum(places, np.maximum(ends[:, None] - 1, 0))].astype(np.int64)
        inputs = held[:, :-1] if self.padding is None else np.where(inside[:, :-1], held[:, :-1], self.padding)
        return np.ascontiguousarray(inputs), np.where(inside[:, 1:], held[:, 1:], IGNORED_TARGET)
