"""Passages, which are texts that continue a prompt, and their words.

Words are those of `lmlab.data.hygiene.shingles` (runs of letters and digits, in lower case for ASCII; a character of three or more
bytes is a word), so that models with different tokenizers are measured alike. A word of which a part is missing doesn't count: the
first one where it continues a word of the prompt, and the last one where the text was cut at a number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab.data.hygiene.shingles import KINDS, LETTER, word_hashes


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A text that continues a prompt."""

    prompt: str
    text: str
    cut: bool
    """Whether it ended because of its length, so that its last word may be incomplete."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """The words of a list of passages, one passage after the other."""

    hashes: NDArray[np.uint64]
    """[words]."""
    first: NDArray[np.int64]
    """[passages + 1]: the first word of each passage, and the number of words."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """[passages]: words of each."""
        return np.diff(self.first)

    @property
    def passage(self) -> NDArray[np.int64]:
        """[words]: the passage of each."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def words_of(passages: Sequence[Passage]) -> Words:
    """Return the whole words of the passages."""
    texts = [passage.text.encode("utf-8", "replace") for passage in passages]
    begins = np.cumsum([0, *map(len, texts)])[: len(texts)].astype(np.int64)
    hashes, first = word_hashes(np.frombuffer(b"".join(texts), np.uint8), begins)
    kept = np.ones(len(hashes), dtype=np.bool_)
    for place, passage in enumerate(passages):
        begin, end = first[place], first[place + 1]
        if begin == end:
            continue
        if _letter(passage.prompt[-1:]) and _letter(passage.text[:1]):
            kept[begin] = False
        if passage.cut and _letter(passage.text[-1:]):
            kept[end - 1] = False
    counts = np.add.reduceat(np.append(kept, False), first[:-1]) if len(passages) else np.zeros(0)
    counts = np.where(np.diff(first) > 0, counts, 0)
    return Words(hashes=hashes[kept], first=np.cumsum([0, *counts]).astype(np.int64))


def _letter(character: str) -> bool:
    """Return whether a character is part of a word with others around it; those that are words of their own aren't."""
    found = character.encode("utf-8", "replace")
    return 1 <= len(found) < 3 and bool(KINDS[found[0]] == LETTER)
