"""The interface of texts for evaluation: the part of a prepared data set that it reads."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from lmlab import LabError


@runtime_checkable
class ScoredText(Protocol):
    """Token splits divided into units. `lmlab.data.dataset.Dataset` implements it."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Number of different tokens."""
        ...

    @property
    def lossless(self) -> bool:
        """Whether decoding the tokens gives the original text; if not, losses per byte are undefined."""
        ...

    @property
    def end_of_text(self) -> int | None:
        """The token after each document; None if there is none."""
        ...

    def document_starts(self, split: str) -> np.ndarray:
        """Return int64 [documents + 1]: the first token of each document, and the number of tokens."""
        ...

    def tokens(self, split: str) -> np.ndarray:
        """Return the split's tokens, in order."""
        ...

    def units(self, split: str) -> np.ndarray:
        """Return a structured array in order of the text, with `key` (32 bytes, a hash of the unit's text) and `start` (the index
        of the unit's first token).
        """
        ...

    def token_bytes(self) -> np.ndarray | None:
        """Return the bytes of text of each token, 0 for end-of-text; None if they aren't known."""
        ...


def split_tokens(text: ScoredText, split: str) -> np.ndarray:
    """Return the tokens of a split. LabError if there is no such split, or no token in it to predict."""
    if split not in text.splits:
        raise LabError(f"there is no split {split!r}: expected one of {', '.join(text.splits)}")
    tokens = text.tokens(split)
    if len(tokens) < 2:
        raise LabError(
            f"the split {split!r} has {len(tokens)} tokens: expected at least 2, since the first isn't predicted"
        )
    return tokens
