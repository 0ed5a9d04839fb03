"""Learning-rate schedules as pure functions of the step.

A schedule is a warm-up and a curve after it; `add_schedule` registers another. Steps are counted from 0 at the schedule's start;
rates are shares of the peak rate. Warm-up and cosine are nanoGPT's (`get_lr` in
its train.py): neither the first step of the warm-up nor the last of the schedule has a rate of zero, since the floor is reached one
step after the last. A warm-up with a `warmup_from` begins at that share. In both cases the peak is reached at step `warmup`. WSD
is from arXiv 2405.18392.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lmlab.recipe.kinds import add_kind
from lmlab.recipe.schedule import WSD, Constant, Cosine, Linear, Schedule

Curve = Callable[[Any, int, int], float]
"""(settings, steps that the schedule spans, step) -> share of the peak rate, from the end of the warm-up on."""

CURVES: dict[type, Curve] = {}
"""Type of the settings -> the schedule's curve."""


def add_schedule(settings: type, curve: Curve) -> None:
    """Register a schedule: its settings as a kind of the recipe's schedule section, and its curve."""
    add_kind("schedule", settings)
    CURVES[settings] = curve


def rate_share(schedule: Schedule, steps: int, step: int) -> float:
    """Return the share of the peak rate at `step`, counted from 0.

    `steps` is the run's length, which the schedule spans unless it has its own `steps`; after its span the rate stays at the floor.
    """
    if step < schedule.warmup:
        if schedule.warmup_from is None:
            return (step + 1) / (schedule.warmup + 1)
        return schedule.warmup_from + (1.0 - schedule.warmup_from) * step / schedule.warmup
    span = steps if schedule.steps is None else schedule.steps
    return CURVES[type(schedule)](schedule, span, step)


def _constant(schedule: Constant, span: int, step: int) -> float:
    return 1.0


def _linear(schedule: Linear, span: int, step: int) -> float:
    return _falling(schedule.floor, 1.0 - _progress(float(schedule.warmup), span, step))


def _cosine(schedule: Cosine, span: int, step: int) -> float:
    progress = _progress(float(schedule.warmup), span, step)
    return _falling(schedule.floor, 0.5 * (1.0 + math.cos(math.pi * progress)))


def _wsd(schedule: WSD, span: int, step: int) -> float:
    start = max(float(schedule.warmup), span * (1.0 - schedule.decay))
    return 1.0 if step < min(start, span) else _falling(schedule.floor, 1.0 - _progress(start, span, step))


def _progress(start: float, span: int, step: int) -> float:
    """Return the share of the steps from `start` to `span` that `step` is beyond `start`; 1 after the span."""
    return 1.0 if step >= span else (step - start) / (span - start)


def _falling(floor: float, left: float) -> float:
    """Return the rate between the floor (`left` 0) and the peak (1)."""
    return floor + left * (1.0 - floor)


for _settings, _curve in ((Constant, _constant), (Linear, _linear), (Cosine, _cosine), (WSD, _wsd)):
    CURVES[_settings] = _curve
