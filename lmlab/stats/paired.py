"""Two models scored on the same text: the difference of their losses, by a bootstrap over the units of the text.

A text that is hard for one model is hard for the other, so the difference unit by unit varies far less than either loss. Units are
documents, or blocks of a long text; they are drawn with replacement, and both models keep the units that are drawn (Efron and
Tibshirani, An Introduction to the Bootstrap, chapters 6 and 13).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lmlab.stats.bootstrap import ratio_draws


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Of two losses on the same units: of the first minus the second, in the unit of bits (or nats) over that of sizes."""

    difference: float
    standard_error: float
    """Over units; NaN with fewer than two."""
    low: float
    high: float
    """The percentile interval of 95 % over units: of this text, as if the two trainings could come out in no other way."""
    units: int
    """Units that both were scored on."""


def paired_difference(
    first: ArrayLike, second: ArrayLike, sizes: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> PairedDifference:
    """sum(first - second) / sum(sizes) over units, such as bits of each unit and its bytes. Units with a NaN are left out."""
    apart = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    size = np.asarray(sizes, dtype=np.float64)
    scored = ~np.isnan(apart)
    draws = ratio_draws(apart, size, resamples, seed)
    total = float(size[scored].sum())
    low, high = np.nanquantile(draws, [0.025, 0.975]) if len(draws) else (math.nan, math.nan)
    return PairedDifference(
        difference=float(apart[scored].sum()) / total if total else math.nan,
        standard_error=float(np.nanstd(draws, ddof=1)) if len(draws) else math.nan,
        low=float(low),
        high=float(high),
        units=int(np.count_nonzero(scored)),
    )
