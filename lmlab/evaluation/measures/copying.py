"""Spans that a text has copied from training text: for each word the longest one that begins there and is in training.

The texts are few and the training text is long, so the texts are indexed, by the hashes of all sequences of n words for each n
that is needed, and the training text passes by once, in portions. A place in training whose n words are in a text is a candidate
for n + 1 words, all others are not; so long sequences are looked up at few places. Memory is bounded by a portion and by the
texts. A span is within one passage and one document. Words are compared by 64-bit hashes, so that an equality by chance is
expected less than once in a million searches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmlab.data.dataset import Dataset
from lmlab.data.hygiene.hashing import span_hashes
from lmlab.data.hygiene.shingles import word_hashes
from lmlab.data.progress import Progress
from lmlab.evaluation.measures.passages import Words
from lmlab.evaluation.training_text import portions, training_bytes

OVERLAP = 1 << 10
"""Tokens that two portions have in common at least."""
SIEVE_BITS = 20
SIEVED = 4
"""Words of the longest sequences that are looked up at so many places that a sieve before the search pays."""


class Copies:
    """An index of passages' words, and which of their sequences were found in training text."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._end = words.first[1:][words.passage]
        self._sequences: dict[int, _Sequences] = {}

    def search(self, dataset: Dataset, longest_bytes: int, progress: Progress) -> None:
        """Look up the training split of a data set. `longest_bytes` is the size of the longest passage."""
        progress.begin("looking for copies of training text", training_bytes(dataset))
        # A token has a byte of text or ends a document, so a copy has no more tokens than bytes, but for separators.
        overlap = max(OVERLAP, 2 * longest_bytes)
        for number, (text, begins, last) in enumerate(portions(dataset, overlap)):
            self.look_up(text, begins, whole_first=number == 0, whole_last=last)
            progress.advance(len(text))

    def look_up(
        self, text: NDArray[np.uint8], begins: NDArray[np.int64], *, whole_first: bool, whole_last: bool
    ) -> None:
        """Note which sequences are in a portion of training text, whose documents begin at the offsets `begins`. Its first and last
        words are left out unless they are whole.
        """
        words, first = word_hashes(text, begins)
        counts = np.diff(first)
        document_end = np.repeat(first[1:], counts)
        document_end = np.minimum(document_end, len(words) - (not whole_last))
        places = np.arange(0 if whole_first else 1, len(words))
        length = 1
        while len(places):
            places = places[places + length <= document_end[places]]
            hashes = words[places] if length == 1 else span_hashes(words, places, places + length)
            places = places[self._of_length(length).found(hashes)]
            length += 1

    def longest(self) -> NDArray[np.int64]:
        """Return [words]: how many words the longest span of training text has that begins at each word; 0 for an unknown word."""
        found = np.zeros(len(self._words.hashes), dtype=np.int64)
        for length in sorted(self._sequences):
            found[self._sequences[length].places()] = length
        return found

    def _of_length(self, length: int) -> _Sequences:
        if length not in self._sequences:
            places = np.arange(len(self._words.hashes))
            places = places[places + length <= self._end[places]]
            hashes = (
                span_hashes(self._words.hashes, places, places + length) if length > 1 else self._words.hashes[places]
            )
            self._sequences[length] = _Sequences(hashes, places, sieved=length <= SIEVED)
        return self._sequences[length]


class _Sequences:
    """The sequences of one number of words in the passages."""

    def __init__(self, hashes: NDArray[np.uint64], places: NDArray[np.int64], *, sieved: bool) -> None:
        """`hashes` [sequences] are those of the sequences that begin at `places`."""
        self._places = places
        self._wanted, self._number = np.unique(hashes, return_inverse=True)
        self._found = np.zeros(len(self._wanted), dtype=np.bool_)
        # Excludes most places of training by one look-up in place of a search.
        self._sieve = np.zeros(1 << SIEVE_BITS, dtype=np.bool_) if sieved else None
        if self._sieve is not None:
            self._sieve[_slot(self._wanted)] = True

    def found(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the indices of those hashes that are wanted, and note that they were found."""
        passed = np.arange(len(hashes)) if self._sieve is None else np.flatnonzero(self._sieve[_slot(hashes)])
        if not len(self._wanted) or not len(passed):
            return np.zeros(0, dtype=np.int64)
        slots = np.minimum(np.searchsorted(self._wanted, hashes[passed]), len(self._wanted) - 1)
        equal = self._wanted[slots] == hashes[passed]
        self._found[slots[equal]] = True
        return np.asarray(passed[equal])

    def places(self) -> NDArray[np.int64]:
        """Return where the found sequences begin."""
        return np.asarray(self._places[self._found[self._number]])


def in_spans(longest: NDArray[np.int64], least: int) -> NDArray[np.bool_]:
    """Return [words]: whether each word is in a copied span of at least so many words."""
    edges = np.zeros(len(longest) + 1, dtype=np.int64)
    begins = np.flatnonzero(longest >= least)
    np.add.at(edges, begins, 1)
    np.add.at(edges, begins + longest[begins], -1)
    return np.asarray(np.cumsum(edges)[:-1] > 0)


def whole_spans(longest: NDArray[np.int64], words: Words) -> NDArray[np.bool_]:
    """Return [words]: whether a copied span begins at the word that isn't part of one that begins before."""
    before = np.concatenate([[0], longest[:-1]])
    before[words.first[:-1][words.counts > 0]] = 0
    return np.asarray((longest > 0) & (longest >= before))


def _slot(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (hashes >> np.uint64(64 - SIEVE_BITS)).astype(np.int64)
