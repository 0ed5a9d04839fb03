"""How much of each task's text is in the text that a model was trained on: sequences of words of an item, looked up in training.

An item's text is its prompt with the right answer. It is divided into words as in `lmlab.data.hygiene.shingles` (runs of letters
and digits, in lower case), and every sequence of n of them is looked up in the training split, which is read once for all tasks.
n is 13, the largest in GPT-3 (Brown et al., 2020, arXiv 2005.14165, appendix C); 8 for items of 8 to 12 words, the smallest there
and that of PaLM (arXiv 2204.02311, section 8); and the whole text for 5 to 7 words. Shorter items aren't compared.

An item is `found` if one of its sequences is in training, GPT-3's rule, and `mostly` found if 70% of them are, PaLM's. Words are
compared by 64-bit hashes, so that a match by chance is expected once in about a million searches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.data.dataset import Dataset
from lmlab.data.hygiene.hashing import window_hashes
from lmlab.data.hygiene.shingles import word_hashes
from lmlab.data.progress import Progress
from lmlab.evaluation.tasks.item import Item
from lmlab.evaluation.training_text import portions, training_bytes
from lmlab.stats.proportion import Proportion, proportion

LONG, SHORT, SHORTEST = 13, 8, 5
MOSTLY = 0.7
FEWEST_CLEAN = 100
"""Items from which an accuracy on the part that isn't in training is given."""
LABELS = re.compile(r"(?m)^(?:Question|Passage|Answer):")
"""Words of prompts that are no part of a task's text."""
OVERLAP = 1 << 10
"""Tokens that two portions have in common: more than 13 words have."""
SIEVE_BITS = 22


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """How much of a task's items is in a training split."""

    data_id: str
    """The data set that was searched."""
    compared: int
    """Items of 5 words or more."""
    found: int
    """Items with a sequence of words that is in training."""
    mostly: int
    """Items of which 70% of the sequences are."""
    clean: Proportion | None
    """The accuracy on compared items that weren't found; None where they are fewer than FEWEST_CLEAN, or all."""
    in_training: Proportion | None
    """The accuracy on the found ones; None where they are fewer than FEWEST_CLEAN."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "data_id": self.data_id,
            "compared": self.compared,
            "found": self.found,
            "mostly": self.mostly,
            "clean": None if self.clean is None else self.clean.to_json(),
            "in_training": None if self.in_training is None else self.in_training.to_json(),
        }


def summarise(
    shares: NDArray[np.float64],
    right: NDArray[np.bool_],
    scorable: NDArray[np.bool_],
    clusters: NDArray[np.int64] | None,
    data_id: str,
) -> Contamination:
    """Return the result for one task. `shares` are those of `shares_in_training`, `right` the primary outcomes, all [items]."""
    compared = ~np.isnan(shares) & scorable
    found = compared & (np.nan_to_num(shares) > 0)

    def part(chosen: NDArray[np.bool_]) -> Proportion | None:
        if chosen.sum() < FEWEST_CLEAN:
            return None
        return proportion(right[chosen], None if clusters is None else clusters[chosen])

    return Contamination(
        data_id=data_id,
        compared=int(compared.sum()),
        found=int(found.sum()),
        mostly=int((compared & (np.nan_to_num(shares) >= MOSTLY)).sum()),
        clean=part(compared & ~found) if found.any() else None,
        in_training=part(found),
    )


def shares_in_training(
    dataset: Dataset, tasks: Sequence[Sequence[Item]], progress: Progress
) -> list[NDArray[np.float64]]:
    """Return for each list of items [items]: the share of the item's sequences that are in the training split; NaN for items of
    fewer than 5 words.
    """
    items = [item for one in tasks for item in one]
    index = _Index(items)
    progress.begin("looking for the tasks' text in training", training_bytes(dataset))
    for text, begins, last in portions(dataset, OVERLAP):
        index.look_up(text, begins, last)
        progress.advance(len(text))
    shares = index.shares()
    return np.split(shares, np.cumsum([len(one) for one in tasks])[:-1])


class _Sequences:
    """The sequences of one number of words in a list of items, and which of them were found."""

    def __init__(self, length: int, hashes: NDArray[np.uint64], of_item: NDArray[np.int64]) -> None:
        """`hashes` [sequences] are those of the items `of_item`."""
        self.length = length
        self._of_item = of_item
        self._wanted, self._number = np.unique(hashes, return_inverse=True)
        self._found = np.zeros(len(self._wanted), np.bool_)
        # Excludes most sequences of training by one look-up in place of a search.
        self._sieve = np.zeros(1 << SIEVE_BITS, np.bool_)
        self._sieve[_slot(self._wanted)] = True

    def look_up(self, words: NDArray[np.uint64], document: NDArray[np.int64]) -> None:
        """Note which are among the words, [words], of which each is in the document of that number."""
        hashes = window_hashes(words, self.length)
        passed = np.flatnonzero(self._sieve[_slot(hashes)])
        passed = passed[document[passed] == document[passed + self.length - 1]]
        slots = np.minimum(np.searchsorted(self._wanted, hashes[passed]), len(self._wanted) - 1)
        self._found[slots[self._wanted[slots] == hashes[passed]]] = True

    def counts(self, items: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (float64 [items], int64 [items]): how many of each item's sequences were found, and how many it has."""
        found = np.bincount(self._of_item, weights=self._found[self._number], minlength=items)
        return found, np.bincount(self._of_item, minlength=items)


class _Index:
    """The sequences of a list of items, by their number of words."""

    def __init__(self, items: Sequence[Item]) -> None:
        texts = [LABELS.sub(" ", item.right.text).encode("utf-8") for item in items]
        begins = np.cumsum([0, *map(len, texts)])[: len(texts)].astype(np.int64)
        words, first = word_hashes(np.frombuffer(b"".join(texts), np.uint8), begins)
        counts = np.diff(first)
        of_word = np.repeat(np.arange(len(counts)), counts)
        lengths = np.where(counts >= LONG, LONG, np.where(counts >= SHORT, SHORT, counts))
        self._items = len(items)
        self._sequences = []
        for length in np.unique(lengths[lengths >= SHORTEST]).tolist():
            hashes = window_hashes(words, length)
            start = of_word[: len(hashes)]
            inside = (start == of_word[length - 1 :]) & (lengths[start] == length)
            self._sequences.append(_Sequences(length, hashes[inside], start[inside]))

    def look_up(self, text: NDArray[np.uint8], begins: NDArray[np.int64], last: bool) -> None:
        """Note which sequences are in a portion of training text. `begins` are its documents' offsets; `last`: it is the end of the
        text, so that its last word is whole.
        """
        words, first = word_hashes(text, begins)
        counts = np.diff(first)
        document = np.repeat(np.arange(len(counts)), counts)
        whole = len(words) if last else max(0, len(words) - 1)
        for sequences in self._sequences:
            sequences.look_up(words[:whole], document[:whole])

    def shares(self) -> NDArray[np.float64]:
        """Return [items]: the share of each item's sequences that were found; NaN for an item without one."""
        found, counts = np.zeros(self._items), np.zeros(self._items)
        for sequences in self._sequences:
            own, of = sequences.counts(self._items)
            found, counts = found + own, counts + of
        return np.where(counts > 0, found / np.maximum(counts, 1), np.nan)


def _slot(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - SIEVE_BITS)).astype(np.int64)
