"""A training stream through the tokens that are still unused: each window once an epoch, in a shuffled order.

In: ranges of unused tokens (`lmlab.data.usage.unused`), the context length, a seed, a range of sequence numbers. Out: which
tokens those sequences hold. A range is cut into windows of context + 1 tokens, each beginning with the last token of the
one before it; what is left at its end makes a shorter window where that has half of the targets, since what runs leave
behind is mostly one window between two others. A window never leaves its range, so it holds no used token, not even as
its last target. The order is the keyed permutation of `lmlab.data.order`, whatever `data.order` says: here nothing is drawn
twice. Memory grows with the ranges, and not with the windows in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab.data.order import batch_at, epoch_length, shuffled, window_starts
from lmlab.data.ranges import Ranges, ranges

IGNORED_TARGET = -100
"""Targets that count in no loss, torch's own convention: they fill up a window that is shorter than the others."""


@dataclass(frozen=True, kw_only=True)
class FreshWindows:
    """The windows in ranges of tokens."""

    context: int
    firsts: NDArray[np.int64]
    """The first token of each range that has windows, [ranges]."""
    ends: NDArray[np.int64]
    """The token after its last window, [ranges]."""
    before: NDArray[np.int64]
    """Windows in the ranges before it, and last in all: [ranges + 1]."""

    @property
    def count(self) -> int:
        """How many windows there are."""
        return int(self.before[-1])

    def held(self) -> Ranges:
        """The tokens of all windows."""
        return ranges(self.firsts, self.ends)

    def at(self, seed: int, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first token of each of the sequences number `first` to `first + count - 1`, and the one after its last."""
        windows = shuffled(seed, self.count, first, count)
        place = np.searchsorted(self.before, windows, side="right") - 1
        starts = self.firsts[place] + (windows - self.before[place]) * self.context
        return starts, np.minimum(starts + self.context + 1, self.ends[place])


def fresh_windows(unused: Ranges, context: int) -> FreshWindows:
    """The windows of so many inputs in ranges of unused tokens."""
    whole, rest = np.divmod(unused[:, 1] - unused[:, 0] - 1, context)
    # Half a window's targets are worth its place in a batch, fewer are not.
    shorter = 2 * rest >= context
    windows = whole + shorter
    some = windows > 0
    ends = unused[:, 0] + whole * context + np.where(shorter, rest, 0) + 1
    return FreshWindows(
        context=context,
        firsts=unused[some, 0],
        ends=ends[some],
        before=np.append(0, np.cumsum(windows[some])).astype(np.int64),
    )


@dataclass(frozen=True, kw_only=True)
class FreshTokens:
    """A training split of which only the windows in unused tokens are read."""

    tokens: NDArray[np.integer]
    """The whole split, memory-mapped."""
    unused: Ranges
    """The tokens that no run before has used."""
    windows: FreshWindows

    def batch_at(self, seed: int, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs and targets of those sequences, each int64 [count, context].

        A window that ends early is filled up with its last token, which nothing before it sees, and IGNORED_TARGET.
        """
        starts, ends = self.windows.at(seed, first, count)
        places = starts[:, None] + np.arange(self.windows.context + 1)
        held = np.asarray(self.tokens)[np.minimum(places, ends[:, None] - 1)].astype(np.int64)
        targets = np.where(places[:, 1:] < ends[:, None], held[:, 1:], IGNORED_TARGET)
        return np.ascontiguousarray(held[:, :-1]), targets


TrainingTokens = NDArray[np.integer] | FreshTokens
"""What a training reads: a whole split, or what is unused of one."""


def training_batch(
    tokens: TrainingTokens, order: str, seed: int, context: int, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs and targets of the sequences number `first` to `first + count - 1`, each int64 [count, context]."""
    if isinstance(tokens, FreshTokens):
        return tokens.batch_at(seed, first, count)
    return batch_at(tokens, order, seed, context, first, count)


def training_starts(
    tokens: TrainingTokens, order: str, seed: int, context: int, first: int, count: int
) -> NDArray[np.int64]:
    """Where in the split those sequences begin, int64 [count]."""
    if isinstance(tokens, FreshTokens):
        return tokens.windows.at(seed, first, count)[0]
    return window_starts(order, seed, len(tokens), context, first, count)


def sequences_an_epoch(tokens: TrainingTokens, order: str, context: int) -> int:
    """How many sequences it takes to go through `tokens` once."""
    return tokens.windows.count if isinstance(tokens, FreshTokens) else epoch_length(order, len(tokens), context)
