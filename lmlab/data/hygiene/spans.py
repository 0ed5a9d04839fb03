"""Spans of tokens that are both in the training split and, token for token, in another: contamination.

A token is covered if it is in a span of `length` tokens that training contains too. The spans' hashes are compared, and
then, for each match, the tokens themselves, so there are no false positives. For a large split a pass over the
training split first excludes what can't occur there, and the rest is searched for some million spans at a time, so
that the memory has a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmlab.data.hygiene.hashing import random_words, window_hashes
from lmlab.data.progress import Progress

LEE_BYTES = 200
"""Lee et al., 2022 (arXiv 2107.06499), remove spans of 50 tokens, which are about 200 bytes of English."""
FEWEST_TOKENS = 13
"""Lower limit of a span for tokenizers of long words: GPT-3's 13-grams (Brown et al., 2020)."""

WINDOWS_A_TIME = 1 << 22
TOKENS_A_TIME = 1 << 18
LEAST_SIEVE_BITS, MOST_SIEVE_BITS = 10, 26
ROWS_A_TIME = 1 << 13


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """The parts of a split that are in training: runs of matching spans, each beginning one token after the last."""

    length: int
    """Tokens of a span."""
    tokens: int
    """Number of tokens of the split."""
    first: np.ndarray
    """int64 [runs]: the run's first token."""
    end: np.ndarray
    """int64 [runs]: the token after its last."""
    place: np.ndarray
    """int64 [runs]: a training token at which the run's first span begins."""

    def covered(self) -> np.ndarray:
        """Return bool [tokens]: whether a token is in such a span."""
        found = np.zeros(self.tokens, bool)
        for first, end in zip(self.first.tolist(), self.end.tolist(), strict=True):
            found[first:end] = True
        return found


def span_tokens(tokens: int, size: int) -> int:
    """Return the number of tokens of about LEE_BYTES of text, for a text of `size` bytes in `tokens` tokens, so that results of
    different tokenizers are comparable.

    >>> span_tokens(1000, 4000), span_tokens(1000, 1000)
    (50, 200)
    """
    return max(FEWEST_TOKENS, round(LEE_BYTES * tokens / max(1, size)))


def find_spans(
    train: np.ndarray, evaluated: np.ndarray, length: int, vocabulary: int, bytes_per_token: float, progress: Progress
) -> Spans:
    """Return the spans of `length` tokens of `evaluated` (unsigned [tokens]) that are in `train` too; progress is in bytes."""
    search = _Search(train, random_words("lmlab spans", vocabulary), bytes_per_token, progress)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for windows, hashes in _portions(evaluated, _hopeful(search, evaluated, length), length, search.values):
        place = search.first_places(hashes, length)
        _drop_unequal(train, evaluated, windows, place, length)
        windows, place = windows[place >= 0], place[place >= 0]
        apart = np.diff(windows) != 1
        first, last = np.append(True, apart)[: len(windows)], np.append(apart, True)[: len(windows)]
        found.append((windows[first], windows[last] + 1, place[first]))
    first, end, place = (
        np.concatenate([part[column] for part in found]) if found else np.zeros(0, np.int64) for column in range(3)
    )
    begins = np.append(True, first[1:] != end[:-1])[: len(first)]  # join runs cut at the border of two portions
    ends = np.append(begins[1:], True)[: len(first)]
    return Spans(
        length=length, tokens=len(evaluated), first=first[begins], end=end[ends] - 1 + length, place=place[begins]
    )


def _hopeful(search: _Search, evaluated: np.ndarray, length: int) -> np.ndarray:
    """Return bool [windows]: False for windows of `evaluated` that can't be in training.

    Every window of `length` tokens contains a whole one of half the length that begins at a multiple of `stride`. So if
    there are many windows, one pass over the training split with these few excludes most of them.
    """
    windows = max(0, len(evaluated) - length + 1)
    if windows <= WINDOWS_A_TIME:
        return np.ones(windows, bool)
    half = (length + 1) // 2
    stride = length - half + 1
    anchors = [hashes[-begin % stride :: stride] for begin, hashes in _hashes(evaluated, half, search.values)]
    hopeful = np.zeros(windows, bool)
    for place in (np.flatnonzero(search.first_places(np.concatenate(anchors), half) >= 0) * stride).tolist():
        hopeful[max(0, place + half - length) : place + 1] = True
    return hopeful


def _portions(
    evaluated: np.ndarray, hopeful: np.ndarray, length: int, values: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (window, hash) of the windows that are hopeful, int64 and uint64, about WINDOWS_A_TIME at a time."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    count = 0
    for begin, hashes in _hashes(evaluated, length, values):
        chosen = np.flatnonzero(hopeful[begin : begin + len(hashes)])
        held.append((chosen + begin, hashes[chosen]))
        count += len(chosen)
        if count >= WINDOWS_A_TIME:
            yield np.concatenate([one for one, _ in held]), np.concatenate([other for _, other in held])
            held, count = [], 0
    if count:
        yield np.concatenate([one for one, _ in held]), np.concatenate([other for _, other in held])


def _hashes(tokens: np.ndarray, length: int, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of the first window, hashes) for all windows of `length` tokens, in arrays."""
    for begin in range(0, len(tokens) - length + 1, TOKENS_A_TIME):
        yield begin, window_hashes(values[tokens[begin : begin + TOKENS_A_TIME + length - 1]], length)


class _Search:
    """Finds windows of tokens in the training split by hash."""

    def __init__(self, train: np.ndarray, values: np.ndarray, bytes_per_token: float, progress: Progress) -> None:
        self._train, self.values = train, values
        self._bytes_per_token, self._progress = bytes_per_token, progress

    def first_places(self, hashes: np.ndarray, length: int) -> np.ndarray:
        """Return int64 [hashes]: the first training token at which `length` tokens have the same hash; -1 if there is none."""
        wanted, of_window = np.unique(hashes, return_inverse=True)
        # Rejects most training windows by one table look-up instead of a search.
        bits = min(MOST_SIEVE_BITS, max(LEAST_SIEVE_BITS, (16 * len(wanted)).bit_length()))
        shift = np.uint64(64 - bits)
        sieve = np.zeros(1 << bits, bool)
        sieve[(wanted >> shift).astype(np.int64)] = True
        found = np.full(len(wanted), -1, np.int64)
        self._progress.begin("looking for repeated spans", int(self._bytes_per_token * len(self._train)))
        for begin, here in _hashes(self._train, length, self.values):
            passed = np.flatnonzero(sieve[(here >> shift).astype(np.int64)])
            slots = np.minimum(np.searchsorted(wanted, here[passed]), len(wanted) - 1)
            equal = wanted[slots] == here[passed]
            slots, places = slots[equal][::-1], passed[equal][::-1] + begin  # reversed, so that the first one is kept
            fresh = found[slots] < 0
            found[slots[fresh]] = places[fresh]
            self._progress.advance(int(self._bytes_per_token * len(here)))
        return found[of_window.reshape(-1)]


def _drop_unequal(
    train: np.ndarray, evaluated: np.ndarray, windows: np.ndarray, place: np.ndarray, length: int
) -> None:
    """Set `place` to -1 where only the hashes are equal."""
    found = np.flatnonzero(place >= 0)
    offsets = np.arange(length)
    for begin in range(0, len(found), ROWS_A_TIME):
        rows = found[begin : begin + ROWS_A_TIME]
        same = (evaluated[windows[rows][:, None] + offsets] == train[place[rows][:, None] + offsets]).all(axis=1)
        place[rows[~same]] = -1
