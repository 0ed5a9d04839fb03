"""A figure that isn't known yet, with the interval that it's expected in and what that rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Evidence = Literal["measured", "fitted", "extrapolated", "formula", "published"]
"""measured here; fitted to measurements that surround it; extrapolated from measurements that don't; computed; or somebody's."""
LEVEL = 0.8
"""Of all intervals of forecasts: four of five are to hold what comes."""
NORMAL_QUANTILE = 1.2816
"""So much of a normal distribution lies between minus and plus this many standard deviations."""
WITHIN = (1 + LEVEL) / 2
"""The quantile at which such an interval ends."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A forecast of one figure, in the unit that its name says."""

    value: float
    low: float
    high: float
    evidence: Evidence
    rests_on: str = ""
    """The measurements, fit or source, in words."""
    alarm: str = ""
    """Why it may be far off, in words; empty where nothing speaks for that."""

    def holds(self, measured: float) -> bool:
        """Whether `measured` lies in the interval."""
        return self.low <= measured <= self.high

    def scaled(self, factor: float) -> Estimate:
        """The same of `factor` times the figure, such as seconds of steps instead of one."""
        return Estimate(
            value=self.value * factor,
            low=self.low * factor,
            high=self.high * factor,
            evidence=self.evidence,
            rests_on=self.rests_on,
            alarm=self.alarm,
        )

    def shifted(self, known: float) -> Estimate:
        """The same with a `known` part more, which has no error."""
        return replace(self, value=self.value + known, low=self.low + known, high=self.high + known)

    def to_json(self) -> dict[str, Any]:
        """For files and --json."""
        return {**asdict(self), "level": LEVEL}


def exact(value: float, rests_on: str = "") -> Estimate:
    """A figure that is computed and has no interval."""
    return Estimate(value=value, low=value, high=value, evidence="formula", rests_on=rests_on)
