"""A forecast of a figure, with its interval and the evidence that it is based on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Evidence = Literal["measured", "fitted", "extrapolated", "formula", "published"]
"""measured: here; fitted: to measurements that surround it; extrapolated: from measurements that don't; formula: computed;
published: by others.
"""
LEVEL = 0.8
"""Level of all forecast intervals: four of five should contain the outcome."""
NORMAL_QUANTILE = 1.2816
"""A normal distribution has a share of LEVEL within this many standard deviations of the mean."""
WITHIN = (1 + LEVEL) / 2
"""The quantile at the upper limit of such an interval."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A forecast of one figure, in the unit of the figure."""

    value: float
    low: float
    high: float
    evidence: Evidence
    rests_on: str = ""
    """The measurements, fit or source, in words."""
    alarm: str = ""
    """Why it may be far off, in words; empty if there is no known reason."""

    def holds(self, measured: float) -> bool:
        """Return whether `measured` lies in the interval."""
        return self.low <= measured <= self.high

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate of `factor` times the figure, such as seconds of many steps instead of one."""
        return Estimate(
            value=self.value * factor,
            low=self.low * factor,
            high=self.high * factor,
            evidence=self.evidence,
            rests_on=self.rests_on,
            alarm=self.alarm,
        )

    def shifted(self, known: float) -> Estimate:
        """Return the estimate with a `known` part added, which has no error."""
        return replace(self, value=self.value + known, low=self.low + known, high=self.high + known)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for files and --json."""
        return {**asdict(self), "level": LEVEL}


def exact(value: float, rests_on: str = "") -> Estimate:
    """Return the estimate of a computed figure, without an interval."""
    return Estimate(value=value, low=value, high=value, evidence="formula", rests_on=rests_on)
