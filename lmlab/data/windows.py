"""Windows inside ranges of a split: at most context + 1 tokens each, and never across two ranges.

Input: the first and last tokens of ranges, the context length and the stride. Output: the windows, their tokens, and
batches of them, padded with ignored targets. Ranges are the documents of a split (`data.windows documents` and `cropped`)
or unused tokens (`lmlab.data.fresh`). Memory grows with the number of ranges, not of windows.

A document of n tokens, including those that begin and end it, has windows of w = context + 1:

    n <= w   one window, padded to w
    n > w    whole windows at 0, stride, 2 stride, ...; tokens after the last one are in no window

With `data.windows cropped` and `bucketed` a document has the window at 0 alone; with `packed` a window may hold several documents
(`lmlab.data.packing`). Of conversations some tokens may count in no loss: the given ones (`data.targets response`), and the first
one of a conversation, which would be predicted from the one before it. A window without any target that counts is left out.

A window's first token is only an input and all others are targets, so with a stride below the context a token is a target in
several windows. An epoch is a keyed permutation of all windows (`lmlab.data.order`). Its last batch is completed by
sequences without a target, so that an epoch is a whole number of batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.order import DOCUMENTS_NUMBER, shuffled
from lmlab.data.packing import bucketed, packed_spans
from lmlab.data.ranges import Ranges, ranges
from lmlab.recipe import Recipe

IGNORED_TARGET = -100
"""A target that counts in no loss, PyTorch's own convention: padding of short windows."""
PADDING = 0
"""The input beyond a document's end (the PAD of words); no position before it depends on it."""

WIDTH_STEP = 32
"""The length of a trimmed batch is a multiple of this, so that kernels and compiled models see few shapes."""

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
    """The token after the last window of each range, [ranges]."""
    before: Integers
    """Number of windows in the ranges before each, and the total: [ranges + 1]."""
    epoch: int
    """Sequences of an epoch: the windows, and empty ones that complete the last batch."""
    order: int
    """Number of their permutation (`lmlab.data.order.shuffled`)."""
    counted: NDArray[np.bool_] | None = None
    """Whether each token of the split counts where it is a target, [tokens]; None: all do. Only for ranges of one window each."""
    bucket: int | None = None
    """Windows of a batch, where those of similar length come together; None: they are in any order."""
    trimmed: bool = False
    """Whether a batch is as long as its longest window, and not as the context."""

    @property
    def count(self) -> int:
        """The number of windows."""
        return int(self.before[-1])

    @property
    def targets(self) -> int:
        """The number of targets that count in all windows together."""
        if self.counted is not None:
            return int(self._counted_before[-1])
        windows = np.diff(self.before)
        return int(((windows - 1) * self.context + self.ends - self.firsts - (windows - 1) * self.stride - 1).sum())

    @cached_property
    def _counted_before(self) -> Integers:
        """Return the number of targets that count before each token of the split, and the total: [tokens + 1]."""
        assert self.counted is not None
        edges = np.zeros(len(self.counted) + 1, np.int8)
        edges[self.firsts + 1] += 1
        edges[self.ends] -= 1
        targets = np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_) & self.counted
        return np.append(0, np.cumsum(targets, dtype=np.int64))

    def width(self, starts: Integers, ends: Integers) -> int:
        """Return the number of tokens of each row in a batch of these windows, their last targets included."""
        if not self.trimmed:
            return self.context + 1
        inputs = max(1, int((ends - starts).max()) - 1)
        return min(self.context, -(-inputs // WIDTH_STEP) * WIDTH_STEP) + 1

    def counts(self, positions: Integers) -> NDArray[np.bool_]:
        """Return whether the tokens at these positions count where they are targets."""
        if self.counted is None:
            return np.ones(positions.shape, np.bool_)
        found: NDArray[np.bool_] = self.counted[np.minimum(positions, len(self.counted) - 1)]
        return found

    def held(self) -> Ranges:
        """Return the tokens in all windows."""
        return ranges(self.firsts, self.ends)

    def spans(self, windows: Integers) -> tuple[Integers, Integers]:
        """Return the first token of each of these windows, and the one after its last; both 0 for -1, no window."""
        place = np.searchsorted(self.before, windows, side="right") - 1
        starts = self.firsts[place] + (windows - self.before[place]) * self.stride
        ends = np.minimum(starts + self.context + 1, self.ends[place])
        return np.where(windows < 0, 0, starts), np.where(windows < 0, 0, ends)

    def at(self, seed: int, first: int, count: int) -> tuple[Integers, Integers]:
        """Return the spans of sequences `first` to `first + count - 1` of the stream of a seed."""
        if self.bucket is not None:
            lengths = self.ends - self.firsts
            return self.spans(bucketed(lengths, seed, self.bucket, first, count, self.order))
        return self.spans(shuffled(seed, self.count, first, count, number=self.order, epoch=self.epoch))

    def over(self, firsts: Integers, ends: Integers) -> Integers:
        """Return the windows, ascending and without repetition, with a target in any of the ranges [firsts, ends)."""
        filled = ends > firsts
        low, high = self._ending_after(firsts[filled]), self._beginning_before(ends[filled] - 1)
        counts = np.maximum(high - low, 0)
        offsets = np.cumsum(counts) - counts
        return np.unique(np.repeat(low - offsets, counts) + np.arange(counts.sum()))

    def targets_in(self, firsts: Integers, ends: Integers) -> Integers:
        """Return the number of targets in each of the ranges [firsts, ends); a token counts once in every window."""
        if self.counted is not None:
            sums = self._counted_before
            return np.where(ends > firsts, sums[np.maximum(ends, firsts)] - sums[firsts], 0)
        windows = np.arange(self.count)
        starts, stops = self.spans(windows)
        sizes, sums = (np.append(0, np.cumsum(values)) for values in (stops - starts - 1, starts))

        def before(tokens: Integers) -> Integers:
            # Windows that end by then count whole; of the others that have begun, the targets before it.
            whole = np.searchsorted(stops, tokens, side="right")
            begun = np.maximum(np.searchsorted(starts, tokens - 1, side="left"), whole)
            found: Integers = sizes[whole] + (begun - whole) * (tokens - 1) - (sums[begun] - sums[whole])
            return found

        return np.where(ends > firsts, before(np.maximum(ends, firsts)) - before(firsts), 0)

    def _ending_after(self, tokens: Integers) -> Integers:
        """Return the first window that ends after each of these tokens."""
        place = np.maximum(np.searchsorted(self.firsts, tokens, side="right") - 1, 0)
        inside = -((self.context + self.firsts[place] - tokens) // self.stride)
        inside = np.clip(inside, 0, np.diff(self.before)[place])
        found: Integers = np.where(tokens < self.ends[place], self.before[place] + inside, self.before[place + 1])
        return found

    def _beginning_before(self, tokens: Integers) -> Integers:
        """Return the first window that doesn't begin before each of these tokens."""
        place = np.searchsorted(self.firsts, tokens - 1, side="right") - 1
        inside = (tokens - 1 - self.firsts[place]) // self.stride + 1
        inside = np.clip(inside, 0, np.diff(self.before)[place])
        return np.where(place < 0, 0, self.before[place] + inside)


def document_windows(
    starts: Integers, context: int, stride: int | None = None, batch: int = 1, cropped: bool = False
) -> Windows:
    """Return the windows of documents, each cut separately; with `cropped` the first window of each alone.

    `starts` is the first token of each document and the number of tokens, int64 [documents + 1]; `stride` None is the
    context, so that each token is a target once at most. An epoch is a whole number of batches of `batch` windows.
    """
    stride = stride or context
    lengths = np.diff(starts)
    # A single token has no target; only a document that is cut by the end of a view can be so short.
    windows = np.where(lengths < 2, 0, 1 + np.maximum(lengths - context - 1, 0) // stride)
    windows = np.minimum(windows, 1) if cropped else windows
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


def whole_windows(
    starts: Integers, context: int, batch: int, *, bucket: bool, packed: bool, counted: NDArray[np.bool_] | None
) -> Windows:
    """Return windows of whole documents, of long ones their beginning: one each, or with `packed` several in one.

    `starts` is as for `document_windows`, `counted` as in `Windows`. Batches are trimmed, and with `bucket` of similar lengths.
    """
    if packed:
        firsts, ends = packed_spans(starts, context)
    else:
        firsts, ends = np.asarray(starts[:-1]), np.minimum(starts[1:], starts[:-1] + context + 1)
    some = ends - firsts > 1
    if counted is not None:
        sums = np.append(0, np.cumsum(counted, dtype=np.int64))
        some &= sums[ends] > sums[np.minimum(firsts + 1, ends)]
    before = np.arange(int(some.sum()) + 1)
    return Windows(
        context=context,
        stride=context,
        firsts=firsts[some],
        ends=ends[some],
        before=before,
        epoch=-(-int(before[-1]) // batch) * batch,
        order=DOCUMENTS_NUMBER,
        counted=counted,
        bucket=batch if bucket else None,
        trimmed=True,
    )


def split_windows(recipe: Recipe, dataset: Dataset, split: str) -> Windows | None:
    """Return the windows of documents in which `recipe` reads a split; None if it reads it as one stream.

    Raises LabError if the data set's documents don't begin with a begin-of-text token, from which their first token is predicted,
    or aren't conversations where the recipe has a template.
    """
    data = recipe.data
    if not data.by_document:
        return None
    if data.conversations and dataset.conversations is None:
        raise LabError(
            f"data set {dataset.id} is plain text, but data.template is {data.template}: expected a data set of conversations, or "
            "--data.template none"
        )
    if data.begins_documents and dataset.begin_of_text is None:
        raise LabError(
            f"data set {dataset.id} was prepared as one stream, but data.windows is {data.windows}: expected a data set that was "
            f"prepared with --data.windows {data.windows}"
        )
    starts, cropped = dataset.document_starts(split), data.windows == "cropped"
    if data.conversations or not (cropped or data.windows == "documents"):
        return whole_windows(
            starts,
            recipe.model.context,
            recipe.train.batch,
            bucket=data.windows == "bucketed",
            packed=data.windows == "packed",
            counted=_counted(recipe, dataset, split, starts),
        )
    return document_windows(starts, recipe.model.context, data.stride, recipe.train.batch, cropped)


def _counted(recipe: Recipe, dataset: Dataset, split: str, starts: Integers) -> NDArray[np.bool_] | None:
    """Return which tokens of a split count as targets; None for all but the first token of each window."""
    if recipe.data.targets == "response":
        return dataset.responses(split)
    if recipe.data.windows != "packed":
        return None
    counted = np.ones(len(dataset.tokens(split)), np.bool_)
    counted[starts[:-1]] = False
    return counted


@dataclass(frozen=True, kw_only=True)
class WindowedTokens:
    """A split that is read in windows inside ranges."""

    tokens: NDArray[np.integer]
    """The whole split, memory-mapped."""
    windows: Windows
    padding: int | None = PADDING
    """Padding of the inputs of a short window; None: its own last token."""

    def batch_at(self, seed: int, first: int, count: int) -> tuple[Integers, Integers]:
        """Return inputs and targets of those sequences of the stream, each int64 [count, context], or shorter if trimmed."""
        return self.batch_of(*self.windows.at(seed, first, count))

    def batch_of(self, starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
        """Return inputs and targets of the windows [starts, ends), each int64 [windows, context], or shorter if trimmed.

        A short window is padded with `padding`, on which no earlier position depends, and IGNORED_TARGET.
        """
        places = starts[:, None] + np.arange(self.windows.width(starts, ends))
        inside = places < ends[:, None]
        held = np.asarray(self.tokens)[np.minimum(places, np.maximum(ends[:, None] - 1, 0))].astype(np.int64)
        inputs = held[:, :-1] if self.padding is None else np.where(inside[:, :-1], held[:, :-1], self.padding)
        counted = inside[:, 1:] & self.windows.counts(places[:, 1:])
        return np.ascontiguousarray(inputs), np.where(counted, held[:, 1:], IGNORED_TARGET)
