"""The result of an evaluation, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.stats import Interval, ratio_interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Losses of one model on one split. All sums are in float64."""

    split: str
    tokens: int
    """Number of predicted tokens: all but the split's first, or those of a sample's units; for windows of documents the targets of
    all windows, so that a token in two windows counts twice."""
    loss: float
    """Nats a token."""
    standard_error: float
    """Standard error of the loss, over units; NaN with fewer than two units."""
    accuracy: float
    """Share of tokens that were the model's top-1 prediction."""
    majority_accuracy: float
    """The accuracy, on these tokens, of always predicting the training split's most frequent token."""
    bytes: int | None
    """Bytes of text of the predicted tokens (0 for end-of-text); None if the tokenizer is lossy, and for windows of documents,
    which count some tokens twice and others not at all."""
    bits_per_byte: float | None
    """Bits of all predicted tokens, end-of-text included, per byte; None if `bytes` is None or 0."""
    bits_per_unit: NDArray[np.float64]
    """Bits of each unit's tokens; NaN for units that weren't scored."""
    tokens_per_unit: NDArray[np.int64]
    """Number of predicted tokens of each unit."""
    seconds: float
    whole: bool
    """Whether the whole split was scored, and not a sample of its units."""

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite if it overflows."""
        try:
            return math.exp(self.loss)
        except OverflowError:
            return math.inf

    def interval(self, level: float = 0.95, units: NDArray[np.bool_] | None = None) -> Interval:
        """Return the bootstrap interval of the loss (nats a token) over units, or over those in the mask `units`."""
        chosen = slice(None) if units is None else units
        nats = self.bits_per_unit[chosen] * math.log(2.0)
        return ratio_interval(nats, self.tokens_per_unit[chosen], level=level)

    def loss_over(self, units: NDArray[np.bool_]) -> tuple[float, int]:
        """Return (nats a token, tokens) of the units in the mask, which must all be scored; NaN if they have no tokens."""
        tokens = int(self.tokens_per_unit[units].sum())
        nats = float(self.bits_per_unit[units].sum()) * math.log(2.0)
        return (nats / tokens if tokens else math.nan), tokens

    def figures(self) -> dict[str, Any]:
        """Return all values but those by unit, under the names in records and in the output of `--json`."""
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
