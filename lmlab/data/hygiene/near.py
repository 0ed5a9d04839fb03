"""Equal and near-duplicate passages, within the splits and across them.

    text -> shingles -> MinHash bands -> candidates -> Jaccard similarity of the whole sets -> clusters

Only pairs whose whole sets of shingles were compared, with a similarity of at least THRESHOLD, are near duplicates.
Equal passages are found by their SHA-256 and represented by the first. The method is that of Lee et al., 2022 (arXiv
2107.06499); the bands' keys are kept in a temporary file, so that memory grows by about 100 bytes per passage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmlab.data.duplicates import key_words
from lmlab.data.hygiene.minhash import BANDS, band_keys, candidates, signatures, similarity
from lmlab.data.hygiene.passages import Passages
from lmlab.data.hygiene.shingles import shingles
from lmlab.data.progress import Progress
from lmlab.files import remove_dead, temporary_folder

THRESHOLD = 0.8
PAIRS_A_TIME = 1024
TOKENS_A_TIME = 1 << 20
DRAFT = ".check-"


@dataclass(frozen=True, kw_only=True, eq=False)
class Near:
    """Equal and similar passages, by the passages' numbers."""

    equal_to: np.ndarray
    """int64 [passages]: the first passage with the same text (itself, if it is the first)."""
    cluster: np.ndarray
    """int64 [passages]: the first passage connected by a chain of equal and near ones (itself, if it is alone)."""
    partner: np.ndarray
    """int64 [passages]: an earlier passage near it, in training if there is one; -1 if there is none."""
    similarity: np.ndarray
    """float64 [passages]: the similarity to its partner; NaN without one."""
    in_training: np.ndarray
    """bool [passages]: whether a training passage is near it, or near one equal to it; False in training."""


def find_near(passages: Passages, progress: Progress, folder: Path) -> Near:
    """Return the equal and near passages; intermediate data is in a temporary folder in `folder`."""
    equal_to = first_equal(passages.keys())
    searching = _Search(passages, len(passages.numbers("train")))
    remove_dead(folder, DRAFT)
    with temporary_folder(folder, DRAFT) as work:
        keys = np.memmap(work.path / "bands.bin", dtype=np.uint64, mode="w+", shape=(BANDS, passages.count))
        compared = np.flatnonzero(_write_keys(passages, keys, progress) & (equal_to == np.arange(passages.count)))
        progress.begin("comparing candidates", passages.bytes)
        for band in range(BANDS):
            searching.compare(compared[candidates(np.asarray(keys[band][compared]))])
            progress.advance(passages.bytes // BANDS)
        del keys  # Windows can't delete a file that is mapped
    roots = searching.roots()
    return Near(
        equal_to=equal_to,
        cluster=roots[equal_to],
        partner=searching.partner,
        similarity=searching.similarity,
        in_training=searching.in_training[equal_to],
    )


def first_equal(keys: np.ndarray) -> np.ndarray:
    """Return int64 [passages]: the first passage with the same key (V32)."""
    words = key_words(keys)
    _, firsts, places = np.unique(words[:, 0], return_index=True, return_inverse=True)
    found = firsts[places.reshape(-1)]
    # Compare the first eight bytes; passages that agree only in these count as different.
    return np.where((words[found] == words).all(axis=1), found, np.arange(len(keys)))


def _write_keys(passages: Passages, keys: np.ndarray, progress: Progress) -> np.ndarray:
    """Write every passage's band keys into `keys` (uint64 [BANDS, passages]); return bool [passages]: whether it has any."""
    has_words = np.zeros(passages.count, bool)
    progress.begin("comparing passages", passages.bytes)
    for part in passages.ranges():
        hashes, first = shingles(part.text, part.begins)
        filled = np.flatnonzero(np.diff(first))
        if len(filled):
            keys[:, part.first + filled] = band_keys(signatures(hashes, first[filled]))
            has_words[part.first + filled] = True
        progress.advance(len(part.text))
    return has_words


class _Search:
    """Compares candidates and joins similar ones; pairs that can't change the result are skipped."""

    def __init__(self, passages: Passages, training: int) -> None:
        self._passages = passages
        self._training = training
        self._parent = np.arange(passages.count)
        self._seen = np.zeros(0, np.int64)
        self.partner = np.full(passages.count, -1, np.int64)
        self.similarity = np.full(passages.count, np.nan)
        self.in_training = np.zeros(passages.count, bool)

    def root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = int(parent[number])
        return number

    def roots(self) -> np.ndarray:
        """Return int64 [passages]: the first passage of each one's cluster."""
        found = self._parent
        while (found[found] != found).any():
            found = found[found]
        return found

    def compare(self, pairs: np.ndarray) -> None:
        """Compare the candidates of one band, int64 [pairs, 2] with the smaller number first."""
        codes = pairs[:, 0] * np.int64(self._passages.count) + pairs[:, 1]
        new = ~np.isin(codes, self._seen)
        self._seen = np.union1d(self._seen, codes[new])
        for group in self._groups(pairs[new]):
            chosen = [(one, other) for one, other in group if self._is_informative(one, other)]
            for one, other, value in self._similarities(chosen):
                if value >= THRESHOLD and self._is_informative(one, other):
                    self._join(one, other, value)

    def _groups(self, pairs: np.ndarray) -> Iterator[list[tuple[int, int]]]:
        """Yield the pairs in groups of bounded size and text."""
        group: list[tuple[int, int]] = []
        tokens = 0
        for one, other in pairs.tolist():
            group.append((one, other))
            tokens += self._passages.length(one) + self._passages.length(other)
            if len(group) == PAIRS_A_TIME or tokens >= TOKENS_A_TIME:
                yield group
                group, tokens = [], 0
        if group:
            yield group

    def _crosses(self, one: int, other: int) -> bool:
        return one < self._training <= other

    def _is_informative(self, one: int, other: int) -> bool:
        """Return whether the pair can change the result: by joining clusters, or as the first pair across the splits."""
        if self._crosses(one, other) and not self.in_training[other]:
            return True
        return self.root(one) != self.root(other)

    def _similarities(self, pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int, float]]:
        numbers = sorted({number for pair in pairs for number in pair})
        if not numbers:
            return
        hashes, first = shingles(*self._passages.together(numbers))
        sets = {
            number: np.unique(hashes[begin:end]) for number, begin, end in zip(numbers, first, first[1:], strict=False)
        }
        for one, other in pairs:
            yield one, other, similarity(sets[one], sets[other])

    def _join(self, one: int, other: int, value: float) -> None:
        crosses = self._crosses(one, other)
        if self.partner[other] < 0 or crosses:
            self.partner[other], self.similarity[other] = one, value
        self.in_training[other] |= crosses
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low
