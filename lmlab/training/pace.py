"""How long a run still takes, from its own first steps: its forecast is corrected by them, once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.hardware.load import ShareMeter
from lmlab.scaling.estimate import LEVEL, NORMAL_QUANTILE
from lmlab.training.display import duration
from lmlab.training.load import CHANGED, load_spread

FIRST_STEPS, FIRST_SECONDS = 10, 5.0
"""A forecast is corrected after so many steps that took so long together,"""
LONG_SECONDS, FEWEST_STEPS = 20.0, 3
"""or after fewer steps that took longer."""
REPORTED_FACTOR = 1.1
"""A time that differs from its forecast by a smaller factor isn't told."""
SPREAD = 0.05
"""Standard deviation of log(time) from a run's own first steps, on a quiet machine."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a run's forecast says of its time."""

    total_seconds: float
    step_seconds: float
    closing_seconds: float
    """After the last step: the scores over the whole validation split."""
    processor_share: float
    """Of the steps that were tried for it."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """The forecast of a run's time by its own first steps."""

    step: int
    total_seconds: float
    low: float
    high: float
    """The interval that is to hold in four of five cases."""
    left_seconds: float
    step_seconds: float
    processor_share: float
    """Of these steps."""

    def to_json(self) -> dict[str, Any]:
        """For forecast.json."""
        return {**asdict(self), "level": LEVEL}


class Pace:
    """The seconds of one process's steps."""

    def __init__(self, expected: Expected | None, threads: int) -> None:
        """`expected` is None where nothing is to be corrected, as in a run that goes on."""
        self.expected = expected
        self._threads = threads
        self._steps = 0
        self._seconds = 0.0
        self._first = 0.0
        self._meter: ShareMeter | None = None
        self._due = expected is not None

    def add(self, seconds: float) -> None:
        """A step took so long. The first one, which compiles and touches memory, doesn't count where there are others."""
        if self._meter is None:
            self._meter, self._first = ShareMeter(self._threads), seconds
            return
        self._steps += 1
        self._seconds += seconds

    @property
    def step_seconds(self) -> float | None:
        """The mean of a step; None before the first."""
        if self._meter is None:
            return None
        return self._seconds / self._steps if self._steps else self._first

    @property
    def closing_seconds(self) -> float:
        """What comes after the last step, at the pace of this process."""
        if self.expected is None or not self.step_seconds:
            return 0.0
        return self.expected.closing_seconds * self.step_seconds / self.expected.step_seconds

    def correction(self, step: int, spent: float, left: float) -> Correction | None:
        """The corrected forecast, once, where `spent` seconds have passed by `step` and `left` are expected to follow."""
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


def correction_words(found: Correction, expected: Expected) -> str:
    """The correction as a sentence; empty where the forecast was about right."""
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
    """What a forecast.json says of time, of whose evaluations the last takes `closing_share`; None where it says nothing."""
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
