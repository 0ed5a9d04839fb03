"""Learning rate and batch size by published laws, as a band: a starting point, to be tuned by measurement.

    Step Law        rate 1.797 N^-.713 D^.307        batch .581 D^.571 tokens             arXiv 2503.04715
    Porian et al.   rate .0047 (N / 108M)^(-1/3)     batch 2048 x 160 (N / 108M)^(2/3)    arXiv 2406.19146

N: parameters, D: training tokens. Both are for AdamW, and each rate goes with its law's own batch. The runs of the
second are compute-optimal, so it has no D. At a million parameters they disagree by a factor of three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lmlab.scaling.estimate import Estimate
from lmlab.scaling.law import leaving


@dataclass(frozen=True, kw_only=True)
class RateLaw:
    """A published law, with the range of models that it was fitted to."""

    name: str
    source: str
    parameters: tuple[float, float]
    """The smallest and the largest model."""
    rate: Callable[[float, float], float]
    """AdamW's learning rate for (parameters, tokens)."""
    batch: Callable[[float, float], float]
    """Tokens a step for (parameters, tokens)."""

    def alarm(self, parameters: float) -> str:
        """Return how far a model is outside the fitted range, in words; empty inside."""
        words = leaving({"parameters": parameters}, {"parameters": self.parameters})
        return f"{self.name}: {words[0]}" if words else ""


STEP_LAW = RateLaw(
    name="Step Law",
    source="arXiv 2503.04715",
    parameters=(0.21e9, 1.07e9),
    rate=lambda parameters, tokens: 1.797 * parameters**-0.713 * tokens**0.307,
    batch=lambda parameters, tokens: 0.581 * tokens**0.571,
)
PORIAN = RateLaw(
    name="Porian et al.",
    source="arXiv 2406.19146",
    parameters=(5e6, 901e6),
    rate=lambda parameters, tokens: 0.0047 * (parameters / 108e6) ** (-1.0 / 3.0),
    batch=lambda parameters, tokens: 2048.0 * 160.0 * (parameters / 108e6) ** (2.0 / 3.0),
)
LAWS = (STEP_LAW, PORIAN)


def published_rates(parameters: float, tokens: float) -> tuple[float, float]:
    """Return the (lowest, highest) AdamW learning rate of the laws, each at its own batch."""
    rates = [law.rate(parameters, tokens) for law in LAWS]
    return min(rates), max(rates)


def published_batches(parameters: float, tokens: float) -> tuple[float, float]:
    """Return the (smallest, largest) batch of the laws, in tokens."""
    batches = [law.batch(parameters, tokens) for law in LAWS]
    return min(batches), max(batches)


def rate_band(parameters: float, tokens: float) -> Estimate:
    """Return the range and geometric mean of the laws' AdamW learning rates, with an alarm outside their fitted sizes."""
    return _band(published_rates(parameters, tokens), parameters)


def batch_band(parameters: float, tokens: float) -> Estimate:
    """Return the range and geometric mean of the laws' batches, in tokens a step."""
    return _band(published_batches(parameters, tokens), parameters)


def _band(limits: tuple[float, float], parameters: float) -> Estimate:
    low, high = limits
    return Estimate(
        value=math.sqrt(low * high),
        low=low,
        high=high,
        evidence="published",
        rests_on=" and ".join(f"{law.name} ({law.source})" for law in LAWS),
        alarm="; ".join(alarm for law in LAWS if (alarm := law.alarm(parameters))),
    )
