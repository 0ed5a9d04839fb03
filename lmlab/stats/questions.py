"""How many questions a difference of two models needs, and what difference a number of questions can show.

Both models answer the same questions, so what counts is the spread of the differences of their scores, not that of the scores. With
n differences of standard deviation s, a true difference d is found with probability `power` if

    d = (t + z) s / sqrt(n)          t: Student's quantile at (1 + level) / 2 with n - 1 degrees of freedom
                                     z: the normal quantile at `power`

(Cohen, Statistical Power Analysis for the Behavioral Sciences, section 2.5, for paired means; the normal quantile in place of that
of the noncentral t distribution errs by less than a hundredth of d from ten questions on.)
"""

from __future__ import annotations

import math

from lmlab import LabError
from lmlab.stats.student import normal_quantile, student_quantile

LEVEL = 0.95
POWER = 0.8
MOST = 1 << 40
"""More questions than that count as none that would do."""


def smallest_difference(spread: float, questions: int, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest true difference of mean scores that so many questions show, in the unit of `spread`, the standard
    deviation of the differences per question; infinite with fewer than two questions.

    >>> round(smallest_difference(30.0, 110), 2)
    8.08
    """
    _require(spread)
    if questions < 2:
        return math.inf
    return (student_quantile((1 + level) / 2, questions - 1) + normal_quantile(power)) * spread / math.sqrt(questions)


def questions_needed(spread: float, difference: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """Return the fewest questions that show a true difference of this size; None if no number would, as for 0.

    >>> questions_needed(30.0, 2.0)
    1768
    """
    _require(spread)
    size = abs(difference)
    if not size > 0.0 or smallest_difference(spread, MOST, level, power) > size:
        return None
    low, high = 1, 2
    while smallest_difference(spread, high, level, power) > size:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if smallest_difference(spread, middle, level, power) <= size else (middle, high)
    return high


def _require(spread: float) -> None:
    if not spread >= 0.0:
        raise LabError(f"a spread of {spread} among differences: expected 0 or more; give at least two differences")
