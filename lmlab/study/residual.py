"""What the bridging runs leave over of the two ends' own difference, with its interval.

Where the bridge stands between other trainings than the ends (a scale model, shorter ones, recipes of which losses were
reported), the two ends are single runs of which no other seed is known. Their noise is the default share of their loss, and it
adds to the interval of the bridged difference:

    half = sqrt(half of the bridged difference^2 + (t SD sqrt(2))^2)

Where the ends are runs of the bridge themselves, the shares add up to the difference of means over seeds, and what is left over
is how far these two runs lie from the means of n and m seeds, which has variance SD^2 (1 - 1/n + 1 - 1/m).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab.stats.verdict import LEVEL, ErrorPart, Kind, seed_noise

SMALLEST_SHOWN = 0.00005
"""Nats: a smaller residual is 0 in the four digits that are printed."""


@dataclass(frozen=True, kw_only=True)
class Residual:
    """In nats a token, with the limits of its interval at LEVEL."""

    value: float
    low: float
    high: float

    @property
    def nothing(self) -> bool:
        """Whether nothing is left over, in the digits that are printed."""
        return abs(self.value) < SMALLEST_SHOWN

    @property
    def kind(self) -> Kind:
        """Whether more is left over than chance explains: of the second end, better or worse than what was bridged."""
        if self.nothing or self.low <= 0.0 <= self.high:
            return "indistinguishable"
        return "better" if self.value < 0 else "worse"

    def to_json(self) -> dict[str, Any]:
        """For explain.json, beside its value."""
        return {"low": self.low, "high": self.high, "verdict": self.kind}


def residual_of_others(losses: tuple[float, float], interpolated: Mapping[str, Any]) -> Residual:
    """Of two ends with these losses that are no runs of the bridge; `bridged` has its `difference`, `low` and `high`."""
    noise = seed_noise({"first": losses[:1], "second": losses[1:]})
    own = ErrorPart(standard_error=noise.standard_deviation * math.sqrt(2.0), freedom=noise.freedom)
    half = math.hypot((interpolated["high"] - interpolated["low"]) / 2, own.half(LEVEL))
    return _around(losses[1] - losses[0] - interpolated["difference"], half)


def residual_of_runs(
    losses: tuple[float, float], interpolated: Mapping[str, Any], noise: Mapping[str, Any], seeds: tuple[int, int]
) -> Residual:
    """Of two ends that are among the runs of the bridge, which has so many seeds of each; `noise` has the `standard_deviation` of
    a run and its `freedom`."""
    share = sum(1.0 - 1.0 / count for count in seeds)
    part = ErrorPart(standard_error=noise["standard_deviation"] * math.sqrt(share), freedom=noise["freedom"])
    return _around(losses[1] - losses[0] - interpolated["difference"], part.half(LEVEL))


def _around(value: float, half: float) -> Residual:
    return Residual(value=value, low=value - half, high=value + half)
