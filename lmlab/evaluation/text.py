"""What can be scored: the part of a prepared data set that evaluation reads."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from lmlab import LabError


@runtime_checkable
class ScoredText(Protocol):
    """Token splits whose units are known. `lmlab.data.Dataset` is one."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """How many different tokens there are."""
        ...

    @property
    def lossless(self) -> bool:
        """Whether tokens give back the text; where they don't, bytes mean nothing."""
        ...

    def tokens(self, split: str) -> np.ndarray:
        """The split's tokens, in order."""
        ...

    def units(self, split: str) -> np.ndarray:
        """Structured array in order of text, with `key` (32 bytes, a hash of the unit's text) and `start` (the first
        token that belongs to the unit)."""
        ...

    def token_bytes(self) -> np.ndarray | None:
        """Bytes of text that each token stands for, 0 for end-of-text; None where that isn't known."""
        ...


def split_tokens(text: ScoredText, split: str) -> np.ndarray:
    """The tokens of a split; LabError where there is no such split, or nothing in it to predict."""
    if split not in text.splits:
        raise LabError(f"there is no split {split!r}: expected one of {', '.join(text.splits)}")
    tokens = text.tokens(split)
    if len(tokens) < 2:
        raise LabError(f"the split {split!r} has {len(tokens)} tokens: expected at least 2, since the first is given")
    return tokens
