"""Products and quotients of estimates, with the weaker evidence of the two and the alarms of both.

The bounds multiply, as if both errors had the same sign. For independent errors the interval could be narrower; but too narrow an
interval is the worse mistake.
"""

from __future__ import annotations

from lmlab.scaling.estimate import Estimate, Evidence

STRENGTH: tuple[Evidence, ...] = ("formula", "measured", "fitted", "extrapolated", "published")
"""From strongest to weakest."""


def product(one: Estimate, other: Estimate) -> Estimate:
    """Multiply two positive figures, such as seconds and watts."""
    return _combined(one, other, one.value * other.value, one.low * other.low, one.high * other.high)


def quotient(one: Estimate, other: Estimate) -> Estimate:
    """Divide two positive figures, such as tokens by tokens a second."""
    return _combined(one, other, one.value / other.value, one.low / other.high, one.high / other.low)


def _combined(one: Estimate, other: Estimate, value: float, low: float, high: float) -> Estimate:
    return Estimate(
        value=value,
        low=low,
        high=high,
        evidence=max(one.evidence, other.evidence, key=STRENGTH.index),
        rests_on=_both(one.rests_on, other.rests_on),
        alarm=_both(one.alarm, other.alarm),
    )


def _both(one: str, other: str) -> str:
    return "; ".join(dict.fromkeys(part for part in (one, other) if part))
