"""Learning rate and batch by published laws, as a band: where they agree is worth starting from, and then to be measured.

    Step Law        rate 1.797 N^-.713 D^.307        batch .581 D^.571 tokens             arXiv 2503.04715
    Porian et al.   rate .0047 (N / 108M)^(-1/3)     batch 2048 x 160 (N / 108M)^(2/3)    arXiv 2406.19146

N are parameters, D the tokens trained on. Both are for AdamW, and each rate goes with its law's own batch. The second one's lengths
are compute-optimal, so that it has no D. At a million parameters they disagree by three times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lmlab.scaling.estimate import Estimate
from lmlab.scaling.law import leaving


@dataclass(frozen=True, kw_only=True)
class RateLaw:
    """One law, with the models that it was fitted to."""

    name: str
    source: str
    parameters: tuple[float, float]
    """The smallest and the largest of them."""
    rate: Callable[[float, float], float]
    """AdamW's learning rate for (parameters, tokens)."""
    batch: Callable[[float, float], float]
    """Tokens a step for (parameters, tokens)."""

    def alarm(self, parameters: float) -> str:
        """How far a model is outside of what it was fitted to, in words; empty inside."""
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
    """(lowest, highest) learning rate of AdamW by the laws, each at the batch that it goes with."""
    rates = [law.rate(parameters, tokens) for law in LAWS]
    return min(rates), max(rates)


def published_batches(parameters: float, tokens: float) -> tuple[float, float]:
    """(smallest, largest) batch by the laws, in tokens."""
    batches = [law.batch(parameters, tokens) for law in LAWS]
    return min(batches), max(batches)


def rate_band(parameters: float, tokens: float) -> Estimate:
    """The laws' learning rates of AdamW, and their geometric mean; alarmed where a law was fitted to other sizes."""
    return _band(published_rates(parameters, tokens), parameters)


def batch_band(parameters: float, tokens: float) -> Estimate:
    """The same of the batch, in tokens a step."""
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
