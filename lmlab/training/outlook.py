"""Extrapolation of a run's validation losses to its last step, and comparison with the forecast loss.

Everything is computed from the lines that the run has written, so that a run which is killed and resumed reports the same, once.
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
"""Share of a run's steps from which its curve is extrapolated; before that the interval is too wide to be useful."""
MISSED = "forecast_missed"
"""Kind of the event in events.jsonl."""
DECIMALS = 4
"""Decimals of the losses in the event."""


class Outlook:
    """The extrapolated final loss of one run, updated by each evaluation."""

    def __init__(self, rate: Callable[[int], float], steps: int, forecast: Estimate | None = None) -> None:
        """`rate` returns the share of the peak learning rate at a step; `forecast` is the forecast final loss."""
        self.expected: Estimate | None = None
        """The extrapolated final loss; None while the curve is too short."""
        self._path = rate_path(rate, steps)
        self._forecast = forecast
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._sample: int | None = None
        """Tokens of the sample that evaluations score; None if they score the whole split, as the final figure does."""
        self._reported = False

    def read(self, metrics: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]]) -> None:
        """Reset, and read the evaluations and events of the run's .jsonl lines."""
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
        """Add an evaluation's line. Return the event's fields the first time that the run is expected to miss its forecast."""
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
        """Return the expected loss as text, such as `about 1.52 (1.49 to 1.56)`; empty while there is none."""
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
    """Widen the interval of a sample's loss to that of the whole split, over which forecast and final figure are."""
    error = NORMAL_QUANTILE * sampling_error(end.value, sample)
    return replace(
        end,
        low=max(0.0, end.value - math.hypot(end.value - end.low, error)),
        high=end.value + math.hypot(end.high - end.value, error),
        rests_on=f"{end.rests_on}, on a sample of {sample:,} tokens",
    )


def about(expected: Estimate) -> str:
    """Format a loss with its interval, in as many digits as the interval's width justifies.

    >>> about(Estimate(value=1.5234, low=1.487, high=1.562, evidence="fitted"))
    'about 1.52 (1.49 to 1.56)'
    """
    width = max(expected.high - expected.low, 1e-4)
    digits = min(4, max(1, math.ceil(-math.log10(width / 2))))
    value, low, high = (f"{number:.{digits}f}" for number in (expected.value, expected.low, expected.high))
    return f"about {value} ({low} to {high})"


def missed_words(values: Mapping[str, Any]) -> str:
    """Return the event as a sentence."""
    low, high, forecast, most = (
        f"{values[name]:.4g}" if _is_number(values.get(name)) else "?"
        for name in ("low", "high", "forecast", "forecast_high")
    )
    return (
        f"this run is likely to miss its forecast: its curve now leads to a loss of {low} to {high}, where {forecast} was "
        f"expected, and {most} at most"
    )


def forecast_loss(value: Any) -> Estimate | None:
    """Return the expected final loss in a run's forecast.json; None if it has none.

    An interval that begins at 0 counts as none: earlier versions wrote the logarithm of the vocabulary for an unknown loss.
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
