"""The passages that are compared: a data set's documents, or its 1,024-byte blocks if it has few and long documents.

Passages are numbered across all splits, starting with the training split. They are blocks if both the training and the
validation split have blocks as units, else documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmlab.data.dataset import Dataset

TOKENS_A_TIME = 1 << 18
LONGEST_TOKENS = 1 << 20
"""Number of tokens of a passage that are compared, limited to bound the memory."""


@dataclass(frozen=True, kw_only=True)
class PassageRange:
    """Consecutive passages of one split, with their text."""

    first: int
    """Number of the first passage."""
    text: np.ndarray
    """uint8: the concatenated passages."""
    begins: np.ndarray
    """int64 [passages]: the offset of each in `text`."""


class Passages:
    """The passages of a data set."""

    def __init__(self, dataset: Dataset) -> None:
        units = {split: dataset.facts["splits"][split]["unit"] for split in dataset.splits}
        self.kind = "block" if units["train"] == units["valid"] == "block" else "document"
        self.splits = dataset.splits
        self._dataset = dataset
        self._sizes = dataset.token_bytes()
        self.starts = {split: self._starts(split) for split in self.splits}
        """int64 [passages + 1] of each split: their first tokens, and the number of tokens."""
        counts = [len(self.starts[split]) - 1 for split in self.splits]
        self.first = dict(zip(self.splits, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        """The number of each split's first passage."""
        self.count = sum(counts)
        self.bytes = sum(int(dataset.units(split)["bytes"].sum()) for split in self.splits)

    def _starts(self, split: str) -> np.ndarray:
        if self.kind == "document":
            return np.asarray(self._dataset.document_starts(split))
        return np.append(self._dataset.units(split)["start"], len(self._dataset.tokens(split)))

    def numbers(self, split: str) -> range:
        """Return the numbers of a split's passages."""
        return range(self.first[split], self.first[split] + len(self.starts[split]) - 1)

    def split_of(self, number: int) -> str:
        """Return the split of a passage."""
        return next(split for split in self.splits if number in self.numbers(split))

    def tokens_of(self, split: str) -> np.ndarray:
        """Return int64 [passages]: the number of tokens of each passage of a split."""
        return np.diff(self.starts[split])

    def length(self, number: int) -> int:
        """Return the number of tokens of a passage that are compared."""
        starts = self.starts[self.split_of(number)]
        place = number - self.first[self.split_of(number)]
        return min(int(starts[place + 1] - starts[place]), LONGEST_TOKENS)

    def first_token(self, number: int) -> tuple[str, int]:
        """Return the split of a passage, and its first token there."""
        split = self.split_of(number)
        return split, int(self.starts[split][number - self.first[split]])

    def keys(self) -> np.ndarray:
        """Return V32 [passages]: the SHA-256 of each passage's text."""
        return np.concatenate([self._keys(split) for split in self.splits])

    def _keys(self, split: str) -> np.ndarray:
        if self._dataset.facts["splits"][split]["unit"] == self.kind:
            return np.asarray(self._dataset.units(split)["key"])
        hashed = [self._hash(split, number) for number in range(len(self.starts[split]) - 1)]
        return np.array(hashed, dtype="V32")

    def _hash(self, split: str, number: int) -> bytes:
        begin, end = (int(token) for token in self.starts[split][number : number + 2])
        digest = hashlib.sha256()
        for first in range(begin, end, TOKENS_A_TIME):
            digest.update(self._bytes(split, first, min(first + TOKENS_A_TIME, end)))
        return digest.digest()

    def text(self, number: int) -> bytes:
        """Return a passage's text, at most its first LONGEST_TOKENS tokens."""
        split = self.split_of(number)
        begin, end = (int(token) for token in self.starts[split][number - self.first[split] :][:2])
        return self._bytes(split, begin, min(end, begin + LONGEST_TOKENS))

    def together(self, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return (uint8, int64 [passages]): the concatenated text of these passages, and the offset of each."""
        texts = [self.text(number) for number in numbers]
        begins = np.cumsum([0, *map(len, texts)][: len(texts)])
        return np.frombuffer(b"".join(texts), np.uint8), begins

    def ranges(self) -> Iterator[PassageRange]:
        """Yield all passages in order, in ranges."""
        for split in self.splits:
            starts = self.starts[split]
            number, last = 0, len(starts) - 1
            while number < last:
                end = int(np.searchsorted(starts, starts[number] + TOKENS_A_TIME, side="right")) - 1
                end = min(max(end, number + 1), last)
                text, begins = self._of_range(split, number, end)
                yield PassageRange(
                    first=self.first[split] + number,
                    text=np.frombuffer(text, np.uint8),
                    begins=begins,
                )
                number = end

    def _of_range(self, split: str, number: int, end: int) -> tuple[bytes, np.ndarray]:
        starts = self.starts[split][number : end + 1]
        begin, stop = int(starts[0]), min(int(starts[-1]), int(starts[0]) + max(TOKENS_A_TIME, LONGEST_TOKENS))
        if self._sizes is None:
            texts = [self.text(self.first[split] + index) for index in range(number, end)]
            return b"".join(texts), np.cumsum([0, *map(len, texts)][: len(texts)])
        ids = self._ids(split, begin, stop)
        ends = np.append(0, np.cumsum(self._sizes[ids], dtype=np.int64))
        return self._dataset.tokenizer.decode_bytes(ids), ends[starts[:-1] - begin]

    def _ids(self, split: str, begin: int, end: int) -> np.ndarray:
        return self._dataset.tokens(split)[begin:end].astype(np.int64)

    def _bytes(self, split: str, begin: int, end: int) -> bytes:
        return self._dataset.tokenizer.decode_bytes(self._ids(split, begin, end))
