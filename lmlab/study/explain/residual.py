"""The residual of an explanation: what the interpolating runs leave of the two endpoints' own difference, with its interval.

Where the interpolation is between other trainings than the endpoints (a scale model, shorter ones, recipes with reported losses),
the two endpoints are single runs without known further seeds. Their noise is the default share of their loss, and it adds to the
interval of the interpolated difference:

    half = sqrt(half of the interpolated difference^2 + (t SD sqrt(2))^2)

Where the endpoints are runs of the interpolation themselves, the shares add up to the difference of means over seeds, and the
residual is how far these two runs lie from the means of n and m seeds, which has variance SD^2 (1 - 1/n + 1 - 1/m).
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
    """A residual in nats a token, with the limits of its interval at LEVEL."""

    value: float
    low: float
    high: float

    @property
    def nothing(self) -> bool:
        """Whether it is 0 in the digits that are printed."""
        return abs(self.value) < SMALLEST_SHOWN

    @property
    def kind(self) -> Kind:
        """Its verdict: whether the second endpoint is better or worse than the interpolation, beyond chance."""
        if self.nothing or self.low <= 0.0 <= self.high:
            return "indistinguishable"
        return "better" if self.value < 0 else "worse"

    def to_json(self) -> dict[str, Any]:
        """Return the value for explain.json, beside the residual itself."""
        return {"low": self.low, "high": self.high, "verdict": self.kind}


def residual_of_others(losses: tuple[float, float], interpolated: Mapping[str, Any]) -> Residual:
    """Return the residual for endpoints outside the interpolation; `interpolated` has `difference`, `low` and `high`."""
    noise = seed_noise({"first": losses[:1], "second": losses[1:]})
    own = ErrorPart(standard_error=noise.standard_deviation * math.sqrt(2.0), freedom=noise.freedom)
    half = math.hypot((interpolated["high"] - interpolated["low"]) / 2, own.half(LEVEL))
    return _around(losses[1] - losses[0] - interpolated["difference"], half)


def residual_of_runs(
    losses: tuple[float, float], interpolated: Mapping[str, Any], noise: Mapping[str, Any], seeds: tuple[int, int]
) -> Residual:
    """Return the residual for endpoints among the runs of the interpolation, which has so many `seeds` of each; `noise` has the
    `standard_deviation` of a run and its `freedom`."""
    share = sum(1.0 - 1.0 / count for count in seeds)
    part = ErrorPart(standard_error=noise["standard_deviation"] * math.sqrt(share), freedom=noise["freedom"])
    return _around(losses[1] - losses[0] - interpolated["difference"], part.half(LEVEL))


def _around(value: float, half: float) -> Residual:
    return Residual(value=value, low=value - half, high=value + half)
