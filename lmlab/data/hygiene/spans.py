"""Spans of tokens that stand in the training split and, token for token, in another: what is usually called contamination.

A token is covered where it lies in a span of `length` tokens that training has too. The spans' hashes are compared, and
then, for each that was found, the tokens themselves, so nothing is reported by chance. The evaluated split is taken some
million tokens at a time, each with a pass over the training split, so that the memory has a bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmlab.data.hygiene.hashing import random_words, window_hashes
from lmlab.data.progress import Progress

LEE_BYTES = 200
"""Lee et al., 2022 (arXiv 2107.06499), remove spans of 50 tokens, which are about 200 bytes of English."""
FEWEST_TOKENS = 13
"""A tokenizer of long words gets no shorter spans than GPT-3's 13-grams (Brown et al., 2020)."""

WINDOWS_A_TIME = 1 << 22
TOKENS_A_TIME = 1 << 18
SIEVE_BITS = 26
ROWS_A_TIME = 1 << 13


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """What of a split stands in training: runs of spans, each beginning one token after the last."""

    length: int
    """Tokens of a span."""
    tokens: int
    """Of the split."""
    first: np.ndarray
    """int64 [runs]: the run's first token."""
    end: np.ndarray
    """int64 [runs]: the token after its last."""
    place: np.ndarray
    """int64 [runs]: a training token from which on the run's first span stands."""

    def covered(self) -> np.ndarray:
        """bool [tokens]: whether a token lies in such a span."""
        found = np.zeros(self.tokens, bool)
        for first, end in zip(self.first.tolist(), self.end.tolist(), strict=True):
            found[first:end] = True
        return found


def span_tokens(tokens: int, size: int) -> int:
    """How many tokens hold about LEE_BYTES of a text of `size` bytes in `tokens` tokens, so that figures of different
    tokenizers mean nearly the same.

    >>> span_tokens(1000, 4000), span_tokens(1000, 1000)
    (50, 200)
    """
    return max(FEWEST_TOKENS, round(LEE_BYTES * tokens / max(1, size)))


def find_spans(
    train: np.ndarray, evaluated: np.ndarray, length: int, vocabulary: int, bytes_per_token: float, progress: Progress
) -> Spans:
    """The spans of `length` tokens of `evaluated` (unsigned [tokens]) that `train` has too; the progress is in bytes."""
    values = random_words("lmlab spans", vocabulary)
    windows = max(0, len(evaluated) - length + 1)
    parts = range(0, windows, WINDOWS_A_TIME)
    progress.begin("looking for repeated spans", int(bytes_per_token * len(train) * len(parts)))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for begin in parts:
        part = evaluated[begin : begin + WINDOWS_A_TIME + length - 1]
        hashes = _window_hashes(part, length, values)
        place = _first_places(train, hashes, length, values, bytes_per_token, progress)
        _drop_unequal(train, part, place, length)
        first, end = runs(place >= 0)
        found.append((first + begin, end + begin, place[first]))
    first, end, place = (
        np.concatenate([part[column] for part in found]) if found else np.zeros(0, np.int64) for column in range(3)
    )
    begins = np.append(True, first[1:] != end[:-1])[: len(first)]  # a run that the border of two parts cut is one
    ends = np.append(begins[1:], True)[: len(first)]
    return Spans(
        length=length, tokens=len(evaluated), first=first[begins], end=end[ends] - 1 + length, place=place[begins]
    )


def runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first, end), int64 [runs], of each run of True in bool [n]."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _window_hashes(tokens: np.ndarray, length: int, values: np.ndarray) -> np.ndarray:
    """uint64 [windows], some at a time."""
    return np.concatenate(
        [
            window_hashes(values[tokens[begin : begin + TOKENS_A_TIME + length - 1]], length)
            for begin in range(0, len(tokens) - length + 1, TOKENS_A_TIME)
        ]
    )


def _first_places(
    train: np.ndarray, hashes: np.ndarray, length: int, values: np.ndarray, bytes_per_token: float, progress: Progress
) -> np.ndarray:
    """int64 [windows]: the first training token whose window has the same hash; -1 where there is none."""
    wanted, of_window = np.unique(hashes, return_inverse=True)
    shift = np.uint64(64 - SIEVE_BITS)
    # What most training windows are stopped by: one look at a table instead of a search.
    sieve = np.zeros(1 << SIEVE_BITS, bool)
    sieve[(wanted >> shift).astype(np.int64)] = True
    found = np.full(len(wanted), -1, np.int64)
    for begin in range(0, len(train), TOKENS_A_TIME):
        part = train[begin : begin + TOKENS_A_TIME + length - 1]
        here = window_hashes(values[part], length)
        passed = np.flatnonzero(sieve[(here >> shift).astype(np.int64)])
        slots = np.minimum(np.searchsorted(wanted, here[passed]), len(wanted) - 1)
        equal = wanted[slots] == here[passed]
        slots, places = slots[equal][::-1], passed[equal][::-1] + begin  # backwards, so that the first one stays
        fresh = found[slots] < 0
        found[slots[fresh]] = places[fresh]
        progress.advance(int(bytes_per_token * min(TOKENS_A_TIME, len(train) - begin)))
    return found[of_window.reshape(-1)]


def _drop_unequal(train: np.ndarray, evaluated: np.ndarray, place: np.ndarray, length: int) -> None:
    """Put -1 into `place` where only the hashes are the same."""
    found = np.flatnonzero(place >= 0)
    offsets = np.arange(length)
    for begin in range(0, len(found), ROWS_A_TIME):
        rows = found[begin : begin + ROWS_A_TIME]
        same = (evaluated[rows[:, None] + offsets] == train[place[rows][:, None] + offsets]).all(axis=1)
        place[rows[~same]] = -1
