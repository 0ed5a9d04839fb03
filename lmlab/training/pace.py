"""Speed of a run's steps, and its remaining time from them, by which its forecast is corrected once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.hardware.load import ShareMeter
from lmlab.recipe.quantities import duration
from lmlab.scaling.estimate import LEVEL, NORMAL_QUANTILE
from lmlab.training.load import CHANGED, load_spread

FIRST_STEPS, FIRST_SECONDS = 10, 5.0
"""A forecast is corrected after at least this many steps with at least this total time,"""
LONG_SECONDS, FEWEST_STEPS = 20.0, 3
"""or after fewer steps with a longer total time."""
REPORTED_FACTOR = 1.1
"""A time that differs from its forecast by a smaller factor isn't reported."""
SPREAD = 0.05
"""Standard deviation of log(time) estimated from a run's own first steps on an idle machine."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The times in a run's forecast."""

    total_seconds: float
    step_seconds: float
    closing_seconds: float
    """Seconds after the last step: the evaluation over the whole validation split."""
    processor_share: float
    """Share of the processor during the trial steps of the forecast."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """The forecast of a run's time from its own first steps."""

    step: int
    total_seconds: float
    low: float
    high: float
    """`low` to `high` is the 80 % interval of `total_seconds`."""
    left_seconds: float
    step_seconds: float
    processor_share: float
    """Share of the processor during these steps."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields for forecast.json."""
        return {**asdict(self), "level": LEVEL}


class Pace:
    """Measures the time of this process's steps."""

    def __init__(self, expected: Expected | None, threads: int) -> None:
        """`expected` is None if there is no forecast to correct, as in a resumed run."""
        self.expected = expected
        self._threads = threads
        self._steps = 0
        self._seconds = 0.0
        self._first = 0.0
        self._meter: ShareMeter | None = None
        self._due = expected is not None

    def add(self, seconds: float) -> None:
        """Add the time of a step. The first one, which compiles and allocates, counts only until there is a second."""
        if self._meter is None:
            self._meter, self._first = ShareMeter(self._threads), seconds
            return
        self._steps += 1
        self._seconds += seconds

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds a step; None before the first step."""
        if self._meter is None:
            return None
        return self._seconds / self._steps if self._steps else self._first

    @property
    def closing_seconds(self) -> float:
        """Expected seconds after the last step, scaled to this process's pace."""
        if self.expected is None or not self.step_seconds:
            return 0.0
        return self.expected.closing_seconds * self.step_seconds / self.expected.step_seconds

    def correction(self, step: int, spent: float, left: float) -> Correction | None:
        """Return the corrected forecast, once, after enough steps; else None.

        `spent` are the seconds up to `step`, `left` the expected seconds after it.
        """
        if not self._due or self._meter is None or not self._is_known():
            return None
        self._due = False
        share = self._meter.share()
        width = math.exp(NORMAL_QUANTILE * math.hypot(SPREAD, load_spread(share)))
        return Correction(
            step=step,
            total_seconds=spent + left,
            low=spent + left / width,
            high=spent + left * width,
            left_seconds=left,
            step_seconds=self.step_seconds or 0.0,
            processor_share=share,
        )

    def _is_known(self) -> bool:
        usual = self._steps >= FIRST_STEPS and self._seconds >= FIRST_SECONDS
        return usual or (self._steps >= FEWEST_STEPS and self._seconds >= LONG_SECONDS)


class Meter:
    """Measures tokens a second since the last line of metrics, and smoothed tokens a second and seconds a step for the display."""

    SMOOTHING = 0.9

    def __init__(self) -> None:
        self.step_seconds = 0.0
        self._step_tokens = 0.0
        self._tokens = 0
        self._seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self._tokens += tokens
        self._seconds += seconds
        self._step_tokens = self._smoothed(self._step_tokens, tokens)
        self.step_seconds = self._smoothed(self.step_seconds, seconds)

    @property
    def recent(self) -> float:
        """Smoothed tokens a second: the ratio of both smoothed values.

        Smoothed ratios would exceed it: where launching takes longer than computing, the first deferred step after an evaluation
        has the time of two steps, and the last one before the next evaluation nearly none.
        """
        return self._step_tokens / self.step_seconds if self.step_seconds else 0.0

    def _smoothed(self, before: float, now: float) -> float:
        return self.SMOOTHING * before + (1 - self.SMOOTHING) * now if before else now

    def take(self) -> float:
        speed = self._tokens / max(self._seconds, 1e-9)
        self._tokens, self._seconds = 0, 0.0
        return speed


def correction_words(found: Correction, expected: Expected) -> str:
    """Return the correction as a sentence; empty if it differs from the forecast by less than `REPORTED_FACTOR`."""
    if abs(math.log(found.total_seconds / expected.total_seconds)) < math.log(REPORTED_FACTOR):
        return ""
    difference = found.processor_share - expected.processor_share
    why = ""
    if abs(difference) >= CHANGED:
        why = f": the machine is {'quieter' if difference > 0 else 'busier'} than when steps were tried"
    return (
        f"now about {duration(found.left_seconds)} left, {duration(found.total_seconds)} in all (forecast "
        f"{duration(expected.total_seconds)}); a step takes {found.step_seconds * 1e3:,.3g} ms (forecast "
        f"{expected.step_seconds * 1e3:,.3g} ms){why}"
    )


def expected_time(forecast: Any, closing_share: float) -> Expected | None:
    """Return the times in a forecast.json; None if it has none, or was corrected already.

    `closing_share` is the share of the final evaluation in the time of all evaluations.
    """
    if not isinstance(forecast, Mapping) or "correction" in forecast:
        return None
    names = ("total_seconds", "step_seconds", "evaluate_seconds", "processor_share")
    values = [forecast.get(name) for name in names]
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and 0 <= value < math.inf]
    if len(numbers) < len(names) or not all(numbers[:2]):
        return None
    total, step, evaluate, share = numbers
    return Expected(
        total_seconds=total,
        step_seconds=step,
        closing_seconds=evaluate * closing_share,
        processor_share=share,
    )
