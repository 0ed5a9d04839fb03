"""How often a judge finds a difference where there is none: A/A comparisons, of a model with itself.

A procedure at the 5% level may call at most 5 of 100 such comparisons different. Their share has the exact interval of Clopper and
Pearson (1934, Biometrika 26), since it is near 0 and rests on few comparisons, which have to be independent of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lmlab import LabError

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class FalseVerdicts:
    """The share of A/A comparisons that end in a verdict."""

    false: int
    comparisons: int
    nominal: float
    """The share that the procedure allows itself."""
    rate: float
    low: float
    high: float
    """`low` and `high` are the exact 95% interval; NaN without comparisons, as is the rate."""
    p_value: float
    """Probability of so many false verdicts or more if their true share is `nominal`."""

    @property
    def too_many(self) -> bool:
        """Whether there are more than chance explains at the 5% level."""
        return self.p_value < 1.0 - LEVEL

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "false": self.false,
            "comparisons": self.comparisons,
            "nominal": self.nominal,
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
            "p_value": self.p_value,
            "too_many": self.too_many,
        }


def false_verdicts(false: int, comparisons: int, nominal: float = 0.05) -> FalseVerdicts:
    """Return the rate of false verdicts, with its interval. Raises LabError unless 0 <= false <= comparisons.

    >>> round(false_verdicts(0, 20).high, 3)
    0.168
    """
    if not 0 <= false <= comparisons:
        raise LabError(f"{false} false verdicts in {comparisons} comparisons: expected 0 to all of them")
    if not comparisons:
        nan = math.nan
        return FalseVerdicts(false=0, comparisons=0, nominal=nominal, rate=nan, low=nan, high=nan, p_value=1.0)
    low, high = exact_limits(false, comparisons)
    from scipy.special import bdtrc

    return FalseVerdicts(
        false=false,
        comparisons=comparisons,
        nominal=nominal,
        rate=false / comparisons,
        low=low,
        high=high,
        p_value=float(bdtrc(false - 1, comparisons, nominal)) if false else 1.0,
    )


def exact_limits(count: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Clopper and Pearson's limits of a share of independent trials."""
    from scipy.special import betaincinv

    tail = (1.0 - level) / 2
    low = float(betaincinv(count, trials - count + 1, tail)) if count else 0.0
    return low, float(betaincinv(count + 1, trials - count, 1.0 - tail)) if count < trials else 1.0
