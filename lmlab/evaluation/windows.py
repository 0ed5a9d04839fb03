"""Windows in which each token of a split is predicted once, and the unit that a token belongs to. Numpy only.

The tokens of a range [first, end) are predicted but for its first. With context T and stride S <= T, window k of a range reads at
most T tokens from first + kS on. The first window counts all its targets, a later one the last S, so that they have at least
T - S tokens before them; the last window is cut off by the end. A stream is one range; documents that are scored by themselves are
a range each, from the end-of-text token before them where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class OnceWindows:
    """The windows of ranges of tokens, numbered in the order of the split."""

    context: int
    stride: int
    firsts: Integers
    """The first token of each range, ascending, [ranges]."""
    ends: Integers
    """The end (exclusive) of each range, at least one token after its first, [ranges]."""
    before: Integers
    """Number of windows in the ranges before each, and the total: [ranges + 1]."""

    @property
    def count(self) -> int:
        """The number of windows."""
        return int(self.before[-1])

    def spans(self, windows: Integers) -> tuple[Integers, Integers]:
        """Return the first token of each window, and the one after its last target."""
        place = np.searchsorted(self.before, windows, side="right") - 1
        starts = self.firsts[place] + (windows - self.before[place]) * self.stride
        return starts, np.minimum(starts + self.context + 1, self.ends[place])

    def counted_from(self, windows: Integers) -> Integers:
        """Return the first target of each window that counts."""
        place = np.searchsorted(self.before, windows, side="right") - 1
        later = windows > self.before[place]
        return self.spans(windows)[0] + 1 + np.where(later, self.context - self.stride, 0)

    def over(self, firsts: Integers, ends: Integers) -> Integers:
        """Return the windows, ascending and without repetition, that count a token of any of the ranges [firsts, ends)."""
        filled = ends > firsts
        low, high = self._counting(firsts[filled])[0], self._counting(ends[filled] - 1)[1]
        counts = np.maximum(high - low, 0)
        offsets = np.cumsum(counts) - counts
        return np.unique(np.repeat(low - offsets, counts) + np.arange(counts.sum()))

    def _counting(self, tokens: Integers) -> tuple[Integers, Integers]:
        """Return the window that counts each token and the one after it; twice the next window for a token that isn't counted."""
        place = np.searchsorted(self.firsts, tokens, side="left") - 1
        inside = (place >= 0) & (tokens < self.ends[place])
        further = tokens - self.firsts[place] - self.context
        window = self.before[place] + np.maximum(0, -(-further // self.stride))
        following = np.where(place < 0, 0, self.before[place + 1])
        return np.where(inside, window, following), np.where(inside, window + 1, following)


def once_windows(firsts: Integers, ends: Integers, context: int, stride: int | None = None) -> OnceWindows:
    """Return the windows of ranges of tokens; `stride` None is the context. Ranges with no token to predict have none."""
    stride = stride or context
    some = ends - firsts > 1
    firsts, ends = firsts[some], ends[some]
    counts = 1 + -(-np.maximum(0, ends - firsts - 1 - context) // stride)
    before = np.append(0, np.cumsum(counts)).astype(np.int64)
    return OnceWindows(context=context, stride=stride, firsts=firsts, ends=ends, before=before)


def stream_windows(tokens: int, context: int, stride: int | None = None) -> OnceWindows:
    """Return the windows of a split that is read as one stream."""
    return once_windows(np.array([0]), np.array([tokens]), context, stride)


def document_ranges(
    starts: Integers, tokens: NDArray[np.integer], end_of_text: int | None
) -> tuple[Integers, Integers]:
    """Return the ranges of documents that are scored by themselves: each from the end-of-text token before it, if there is one.

    `starts` is the first token of each document and the number of tokens, [documents + 1].
    """
    firsts, ends = np.asarray(starts[:-1], dtype=np.int64), np.asarray(starts[1:], dtype=np.int64)
    if end_of_text is None:
        return firsts, ends
    ended = (firsts > 0) & (np.asarray(tokens[np.maximum(firsts - 1, 0)]) == end_of_text)
    return firsts - ended, ends


def unit_ranges(starts: Integers, tokens: int) -> tuple[Integers, Integers]:
    """Return the first and the end (exclusive) of each unit's predicted tokens; equal if a unit has none.

    `starts` is the first token of each unit, in order, and `tokens` the length of the split.
    """
    return np.maximum(starts, 1), np.maximum(np.append(starts[1:], tokens), 1)


def units_of(positions: Integers, starts: Integers) -> Integers:
    """Return the unit that each token belongs to: the last one that starts at or before it."""
    return np.searchsorted(starts, positions, side="right") - 1
