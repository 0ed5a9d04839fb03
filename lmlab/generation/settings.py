"""Sampling settings: plain values, validated on creation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmlab import LabError

MOST_DRAFTED = 64
"""Maximum number of draft tokens: memory for the logits of each is allocated."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of a generation; the defaults sample from the model's own distribution. LabError if a value is invalid."""

    temperature: float = 1.0
    """Logits are divided by it: below 1 likely tokens are preferred, above 1 unlikely ones; 0 always takes the likeliest token."""
    top_k: int = 0
    """Sample from the k likeliest tokens (0: off)."""
    top_p: float = 1.0
    """Sample from the fewest likeliest tokens whose total probability reaches this (1: off)."""
    min_p: float = 0.0
    """Sample from tokens with at least this share of the likeliest token's probability (0: off)."""
    repetition_penalty: float = 1.0
    """Above 1, makes tokens of the prompt and of the text so far less likely (1: off)."""
    seed: int = 1
    """The same seed, prompt and settings give the same text."""
    tokens: int = 200
    """Write at most this many tokens."""
    stop: tuple[str, ...] = ()
    """Stop before the first of these texts."""
    draft: int = 0
    """Draft up to this many tokens from what followed earlier in the text, and verify them in one pass (0: off).

    The text doesn't change: a draft token is accepted only if it is the token that is sampled.
    """

    def __post_init__(self) -> None:
        """Raise a LabError if a value is invalid."""
        self._check("temperature", 0 <= self.temperature < math.inf, "a number of at least 0")
        self._check("top_k", self.top_k >= 0, "0 (off) or more")
        self._check("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1")
        self._check("min_p", 0 <= self.min_p <= 1, "0 to 1")
        self._check("repetition_penalty", 0 < self.repetition_penalty < math.inf, "a number above 0 (1: off)")
        self._check("tokens", self.tokens >= 1, "at least 1")
        self._check("draft", 0 <= self.draft <= MOST_DRAFTED, f"0 (off) to {MOST_DRAFTED}")
        texts = isinstance(self.stop, tuple) and all(isinstance(text, str) and text for text in self.stop)
        self._check("stop", texts, "a tuple of texts that aren't empty")

    def _check(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise LabError(f"sampling with {name} {getattr(self, name)!r}: expected {expected}")
