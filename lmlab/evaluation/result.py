"""What an evaluation found, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.stats import Interval, ratio_interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Losses of one model on one split. Every sum was made in float64."""

    split: str
    tokens: int
    """How many tokens were predicted: all but the split's first, or those of a sample's units; of windows of documents each
    target of each window, so that one in two windows counts twice."""
    loss: float
    """Nats a token."""
    standard_error: float
    """Of the loss, over units; NaN with fewer than two."""
    accuracy: float
    """Share of tokens that were the model's first guess."""
    majority_accuracy: float
    """The accuracy, on these tokens, of always guessing the training split's most frequent token."""
    bytes: int | None
    """Bytes of text that the predicted tokens stand for (end-of-text: none); None where the tokenizer loses text, and for windows
    of documents, of which some tokens count twice and some not at all."""
    bits_per_byte: float | None
    """Bits of all predicted tokens, end-of-text included, a byte; None where `bytes` is."""
    bits_per_unit: NDArray[np.float64]
    """Bits of each unit's tokens; NaN for units that were not scored."""
    tokens_per_unit: NDArray[np.int64]
    """How many tokens of each unit were predicted."""
    seconds: float
    whole: bool
    """Whether all of the split was scored, rather than a sample of its units."""

    @property
    def perplexity(self) -> float:
        """e to the loss; infinite where that is too large for a float."""
        try:
            return math.exp(self.loss)
        except OverflowError:
            return math.inf

    def interval(self, level: float = 0.95, units: NDArray[np.bool_] | None = None) -> Interval:
        """The bootstrap interval of the loss over units (nats a token), or over some of them."""
        chosen = slice(None) if units is None else units
        nats = self.bits_per_unit[chosen] * math.log(2.0)
        return ratio_interval(nats, self.tokens_per_unit[chosen], level=level)

    def loss_over(self, units: NDArray[np.bool_]) -> tuple[float, int]:
        """(nats a token, tokens) over some of the units, which were all scored; NaN where they have no tokens."""
        tokens = int(self.tokens_per_unit[units].sum())
        nats = float(self.bits_per_unit[units].sum()) * math.log(2.0)
        return (nats / tokens if tokens else math.nan), tokens

    def figures(self) -> dict[str, Any]:
        """Everything but the units, under the names that records and `--json` use."""
        return {
            "loss": self.loss,
            "perplexity": self.perplexity,
            "accuracy": self.accuracy,
            "majority_accuracy": self.majority_accuracy,
            "bits_per_byte": self.bits_per_byte,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "standard_error": self.standard_error,
            "units": int(np.count_nonzero(self.tokens_per_unit)),
            "split": self.split,
            "whole": self.whole,
            "seconds": self.seconds,
        }
