"""Student's t distribution, for estimates whose standard deviation comes from few values.

SciPy is imported when it's called: a training needs it at its end at most, and a bare GPU machine may not have it.
"""

from __future__ import annotations

import math
from statistics import NormalDist

FEWEST_FREEDOM = 1.0


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution at `probability`."""
    return NormalDist().inv_cdf(probability)


def student_within(t: float, freedom: float) -> float:
    """Return the probability that Student's t with `freedom` degrees of freedom lies between -t and t."""
    from scipy.special import stdtr

    return 1.0 - 2.0 * float(stdtr(freedom, -t))


def student_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t at `probability`; fewer than 1 degree of freedom counts as 1."""
    if math.isinf(freedom):
        return normal_quantile(probability)
    from scipy.special import stdtrit

    return float(stdtrit(max(FEWEST_FREEDOM, freedom), probability))
