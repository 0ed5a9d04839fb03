"""An expected range of a figure, open at one end at most: `1.4..1.5`, `..1.5` or `1.4..`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Range:
    """The limits, inclusive; None for no limit on that side."""

    low: float | None
    high: float | None

    @property
    def empty(self) -> bool:
        """Whether it has no limit at all, or the lower one is above the upper."""
        if self.low is None or self.high is None:
            return self.low is self.high
        return self.low > self.high

    def off(self, value: float) -> float:
        """Return how far the value is above the upper limit, or (negative) below the lower one; 0 within the range."""
        if self.high is not None and value > self.high:
            return value - self.high
        if self.low is not None and value < self.low:
            return value - self.low
        return 0.0

    def words(self, shown: Callable[[float], str]) -> str:
        """Return the range as text, each limit formatted by `shown`."""
        low, high = ("" if limit is None else shown(limit) for limit in (self.low, self.high))
        return f"at most {high}" if self.low is None else f"at least {low}" if self.high is None else f"{low} to {high}"


def parse_range(text: str, number: Callable[[str], float]) -> Range | None:
    """Parse a range such as `1.4..1.5`; `number` parses its limits and raises for invalid ones; None for text without `..`."""
    low, dots, high = (part.strip() for part in text.partition(".."))
    if not dots:
        return None
    return Range(low=number(low) if low else None, high=number(high) if high else None)
