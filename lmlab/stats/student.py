"""Student's t: how many standard errors an estimate may be off by chance where its standard deviation comes from few values."""

from __future__ import annotations

import math
from statistics import NormalDist

from scipy.special import stdtr, stdtrit

FEWEST_FREEDOM = 1.0


def normal_quantile(probability: float) -> float:
    """The value below which so much of a standard normal distribution lies."""
    return NormalDist().inv_cdf(probability)


def student_within(t: float, freedom: float) -> float:
    """The probability that Student's t with `freedom` degrees of freedom lies between -t and t."""
    return 1.0 - 2.0 * float(stdtr(freedom, -t))


def student_quantile(probability: float, freedom: float) -> float:
    """The value below which so much of Student's t lies; fewer degrees of freedom than 1 count as 1."""
    if math.isinf(freedom):
        return normal_quantile(probability)
    return float(stdtrit(max(FEWEST_FREEDOM, freedom), probability))
