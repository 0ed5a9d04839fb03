"""Two models scored on the same text: the difference of their losses, by a bootstrap over the units of the text.

A text that is hard for one model is hard for the other, so the difference per unit varies far less than either loss. Units are
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
    """The difference of two losses on the same units, first minus second, in bits (or nats) per unit of size."""

    difference: float
    standard_error: float
    """Over units; NaN with fewer than two."""
    low: float
    high: float
    """`low` and `high` are the 95% percentile interval over units of this text, which leaves out the variation between training
    runs.
    """
    units: int
    """Number of units that both were scored on."""


def paired_difference(
    first: ArrayLike, second: ArrayLike, sizes: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> PairedDifference:
    """Return sum(first - second) / sum(sizes) over units, such as the bits of each unit and its bytes. Units with a NaN are left
    out.
    """
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
