"""Learning-rate schedules as pure functions of the step.

Steps are counted from 0 at the schedule's start; rates are shares of the peak rate. Warm-up and cosine are nanoGPT's (`get_lr` in
its train.py): neither the first step of the warm-up nor the last of the schedule has a rate of zero, since the floor is reached one
step after the last. A warm-up with a `warmup_from` begins at that share. In both cases the peak is reached at step `warmup`. WSD
is from arXiv 2405.18392.
"""

from __future__ import annotations

import math

from lmlab.recipe.schedule import WSD, Constant, Cosine, Schedule


def rate_share(schedule: Schedule, steps: int, step: int) -> float:
    """Return the share of the peak rate at `step`, counted from 0.

    `steps` is the run's length, which the schedule spans unless it has its own `steps`; after its span the rate stays at the floor.
    """
    if step < schedule.warmup:
        if schedule.warmup_from is None:
            return (step + 1) / (schedule.warmup + 1)
        return schedule.warmup_from + (1.0 - schedule.warmup_from) * step / schedule.warmup
    if isinstance(schedule, Constant):
        return 1.0
    span = steps if schedule.steps is None else schedule.steps
    if step >= span:
        return schedule.floor
    start = float(schedule.warmup)
    if isinstance(schedule, WSD):
        start = max(start, span * (1.0 - schedule.decay))
        if step < start:
            return 1.0
    progress = (step - start) / (span - start)
    left = 0.5 * (1.0 + math.cos(math.pi * progress)) if isinstance(schedule, Cosine) else 1.0 - progress
    return schedule.floor + left * (1.0 - schedule.floor)
