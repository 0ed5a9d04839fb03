"""Where a run is heading: its validation losses drawn on to its end, and held against the loss that was forecast.

Everything follows from the lines that the run has written, so that a run which is killed and continued says the same, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from lmlab.scaling.arithmetic import sampling_error
from lmlab.scaling.curve import expected_end, rate_path
from lmlab.scaling.estimate import NORMAL_QUANTILE, Estimate

SHOWN_FROM = 1 / 3
"""Of a run; before that its curve tells little."""
MISSED = "forecast_missed"
"""The kind of the event."""
DECIMALS = 4
"""Of the losses in it."""


class Outlook:
    """What the evaluations of one run say about its end."""

    def __init__(self, rate: Callable[[int], float], steps: int, forecast: Estimate | None = None) -> None:
        """`rate` is the share of the peak learning rate at each of the run's `steps`, `forecast` the expected final loss."""
        self.expected: Estimate | None = None
        """The loss at the end; None while nothing can be said of it."""
        self._path = rate_path(rate, steps)
        self._forecast = forecast
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._sample: int | None = None
        """Tokens of the sample that evaluations score; None where they score the whole split, as the final figure does."""
        self._reported = False

    def read(self, metrics: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]]) -> None:
        """Forget all, and take up what the run's lines tell."""
        evaluations = [
            line
            for line in metrics
            if line.get("kind") == "evaluation" and _is_number(line.get("step")) and _is_number(line.get("valid_loss"))
        ]
        self._steps = [line["step"] for line in evaluations]
        self._losses = [line["valid_loss"] for line in evaluations]
        self._sample = _sample_of(evaluations[-1]) if evaluations else None
        self._reported = any(line.get("kind") == MISSED for line in events)
        self.expected = self._extrapolated()

    def add(self, step: int, evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take up what an evaluation's line holds; the event's values, once, where the run is going to miss its forecast."""
        loss = evaluation["valid_loss"]
        if math.isfinite(loss):
            self._steps.append(step)
            self._losses.append(loss)
            self._sample = _sample_of(evaluation)
        self.expected = self._extrapolated()
        if (
            self._reported
            or self.expected is None
            or self._forecast is None
            or self.expected.low <= self._forecast.high
        ):
            return None
        self._reported = True
        return {
            "forecast": round(self._forecast.value, DECIMALS),
            "forecast_high": round(self._forecast.high, DECIMALS),
            "expected": round(self.expected.value, DECIMALS),
            "low": round(self.expected.low, DECIMALS),
            "high": round(self.expected.high, DECIMALS),
        }

    def words(self) -> str:
        """The expected loss for people, such as `about 1.52 (1.49 to 1.56)`; empty while there is none."""
        return "" if self.expected is None else about(self.expected)

    def _extrapolated(self) -> Estimate | None:
        if not self._steps or self._steps[-1] < SHOWN_FROM * self._path.length:
            return None
        end = expected_end(self._steps, self._losses, self._path)
        return end if end is None or self._sample is None else _of_all(end, self._sample)


def _sample_of(evaluation: Mapping[str, Any]) -> int | None:
    tokens = evaluation.get("valid_tokens")
    return tokens if evaluation.get("whole") is False and type(tokens) is int else None


def _of_all(end: Estimate, sample: int) -> Estimate:
    """What the loss of a sample says about the whole split's, which is what gets quoted and was forecast."""
    error = NORMAL_QUANTILE * sampling_error(end.value, sample)
    return replace(
        end,
        low=max(0.0, end.value - math.hypot(end.value - end.low, error)),
        high=end.value + math.hypot(end.high - end.value, error),
        rests_on=f"{end.rests_on}, on a sample of {sample:,} tokens",
    )


def about(expected: Estimate) -> str:
    """A loss with its limits, in as many digits as the limits allow.

    >>> about(Estimate(value=1.5234, low=1.487, high=1.562, evidence="fitted"))
    'about 1.52 (1.49 to 1.56)'
    """
    width = max(expected.high - expected.low, 1e-4)
    digits = min(4, max(1, math.ceil(-math.log10(width / 2))))
    value, low, high = (f"{number:.{digits}f}" for number in (expected.value, expected.low, expected.high))
    return f"about {value} ({low} to {high})"


def missed_words(values: Mapping[str, Any]) -> str:
    """The event as a sentence."""
    low, high, forecast, most = (
        f"{values[name]:.4g}" if _is_number(values.get(name)) else "?"
        for name in ("low", "high", "forecast", "forecast_high")
    )
    return (
        f"this run is likely to miss its forecast: its curve now leads to a loss of {low} to {high}, where {forecast} was "
        f"expected, and {most} at most"
    )


def forecast_loss(value: Any) -> Estimate | None:
    """The expected final loss that a run's forecast.json holds; None where it holds none.

    One with an interval that begins at 0 is none: earlier versions wrote the logarithm of the vocabulary for a loss that they
    didn't know.
    """
    figures = value.get("figures") if isinstance(value, dict) else None
    figure = figures.get("final_loss") if isinstance(figures, dict) else None
    if not isinstance(figure, dict) or not all(_is_number(figure.get(name)) for name in ("value", "low", "high")):
        return None
    if figure["low"] <= 0.0:
        return None
    return Estimate(
        value=figure["value"],
        low=figure["low"],
        high=figure["high"],
        evidence=figure.get("evidence", "extrapolated"),
        rests_on=str(figure.get("rests_on", "")),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
