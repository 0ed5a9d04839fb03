"""Statistics of interleaved samples: each side's spread, and ratios within a round. Plain numbers only.

A machine that slows down for a while slows all sides of a round. So two sides are compared round by round, and the
median of these ratios is what is quoted: a slow round changes both its numbers and hardly their ratio.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lmlab import LabError


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """The lower and upper quartile, interpolated between samples (those of a single sample are itself)."""
    if len(samples) < 2:
        return samples[0], samples[0]
    lower, _, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return lower, upper


def spread(samples: Sequence[float]) -> float:
    """The distance between the quartiles as a share of the median."""
    lower, upper = quartiles(samples)
    middle = statistics.median(samples)
    return (upper - lower) / abs(middle) if middle else 0.0


def paired_ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """above / below, sample by sample; LabError where they weren't taken in the same rounds."""
    if len(above) != len(below):
        raise LabError(f"{len(above)} samples can't be paired with {len(below)}: expected one each a round")
    return tuple(one / other for one, other in zip(above, below, strict=True))
