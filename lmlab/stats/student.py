"""Student's t: how many standard errors an estimate may be off by chance where its standard deviation comes from few values.

With t = sqrt(freedom) tan(angle) the density becomes a power of the cosine, so that the probability between -t and t is

    2 G((f + 1)/2) / (sqrt(pi) G(f/2))  times the integral of cos(angle)^(f - 1) from 0 to atan(t / sqrt(f)),

which Gauss's rule with 64 points gives to ten digits; its inverse is found by halving.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

NORMAL_FROM = 1e5
"""Degrees of freedom; above, the normal distribution's quantile is the same to five digits."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
HALVINGS = 60


def normal_quantile(probability: float) -> float:
    """The value below which so much of a standard normal distribution lies."""
    return NormalDist().inv_cdf(probability)


def student_within(t: float, freedom: float) -> float:
    """The probability that Student's t with `freedom` degrees of freedom (1 or more) lies between -t and t."""
    end = math.atan(t / math.sqrt(freedom))
    angles = end / 2 * (NODES + 1)
    area = end / 2 * float(WEIGHTS @ np.cos(angles) ** (freedom - 1))
    return 2 * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi) * area


@lru_cache(maxsize=1024)
def student_quantile(probability: float, freedom: float) -> float:
    """The value below which so much of Student's t lies (.5 to .9999); fewer degrees of freedom than 1 count as 1."""
    freedom = max(1.0, freedom)
    normal = normal_quantile(probability)
    if freedom >= NORMAL_FROM or probability == 0.5:
        return normal
    low, high = normal, 2 * normal
    while student_within(high, freedom) < 2 * probability - 1:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if student_within(middle, freedom) < 2 * probability - 1 else (low, middle)
    return high
