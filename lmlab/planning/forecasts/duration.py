"""The duration of a run, part by part, from the measurements of a trial."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lmlab.planning.combine import quotient
from lmlab.planning.forecasts.calibration import Calibration, calibrated
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.from_arithmetic import counted_words
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Estimate, exact
from lmlab.training.evaluating import TRAINING_STEP_IN_FORWARDS, EvaluationPlan, plan_evaluations
from lmlab.training.length import times_in
from lmlab.training.load import load_spread

COUNTED_SPREAD = 0.45
"""Standard deviation of log(time) estimated from FLOPs: trainings reach 0.2 to 0.6 of the peak; 0.4 is assumed."""

START_SECONDS = 5.0
"""Imports, the forecast's steps, and closing."""
FORWARD_SHARE = 1 / TRAINING_STEP_IN_FORWARDS
"""The FLOPs of a forward pass relative to a training step."""


@dataclass(frozen=True, kw_only=True)
class Duration:
    """The duration of a run in seconds, and its speed."""

    start_seconds: float
    """From the start of the process until the forecast: imports, data, the choice of the engine, the trial. Measured."""
    open_seconds: float
    """Warm-up: model and optimizer are built, and the first step takes longer than the others."""
    step_seconds: float
    """The median of the timed steps, corrected like the total."""
    step_spread: float
    """Half the distance between their quartiles."""
    timed_steps: int
    train_seconds: float
    evaluate_seconds: float
    """Samples and the final scores over the whole split included."""
    save_seconds: float
    """The time that training waits for saves."""
    tokens_per_second: Estimate
    total_seconds: Estimate
    """The sum of these parts."""
    raw_total: float
    """The total before the correction by earlier runs; all parts except the start are corrected by the same factor."""
    raw_tokens_per_second: float
    """The rate of the timed steps."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json and files."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value.to_json() if isinstance(value, Estimate) else value for name, value in values.items()}


def duration_of(
    recipe: Recipe,
    trial: Measurement,
    steps: int,
    evaluations: EvaluationPlan,
    calibrations: Mapping[str, Calibration],
    step_tokens: int,
    start_seconds: float = 0.0,
) -> Duration:
    """Return the time of `steps` steps of so many tokens with evaluations, samples and checkpoints, from a trial on this machine.

    `start_seconds` is the time before the forecast, measured or known in advance: it has no error and isn't calibrated.
    """
    middle = statistics.median(trial.step_seconds)
    quartiles = np.quantile(trial.step_seconds, [0.25, 0.75])
    spread = float(quartiles[1] - quartiles[0]) / 2
    # By arithmetic where no forward pass was timed.
    rate = trial.forward_tokens_per_second or step_tokens / middle * TRAINING_STEP_IN_FORWARDS
    times = times_in(steps, recipe.evaluate.every)
    train = steps * middle
    evaluate = evaluations.tokens_in_all(steps, recipe.evaluate.every) / rate + times * trial.sample_seconds
    save = times_in(steps, recipe.train.checkpoint_every) * (trial.save_wait_seconds or trial.save_seconds)
    opening = trial.build_seconds + max(0.0, trial.first_step_seconds - middle)
    rests_on = f"{len(trial.step_seconds)} timed steps" + (" of an earlier start" if trial.kept else "")
    if trial.counted:
        rests_on, calibrations = counted_words(), {}
    elif trial.extended:
        rests_on = "timed steps of fewer layers or sequences"
    # The standard error of the median of n steps is about this.
    own = math.hypot(spread / middle / max(1, len(trial.step_seconds)) ** 0.5, load_spread(trial.processor_share))
    own = math.hypot(own, COUNTED_SPREAD if trial.counted else 0.0)
    raw = opening + train + evaluate + save
    rest = calibrated("total_seconds", raw, calibrations, rests_on, own, evidence=trial.evidence)
    factor = rest.value / raw
    speed = calibrated("tokens_per_second", step_tokens / middle, calibrations, rests_on, own, evidence=trial.evidence)
    return Duration(
        start_seconds=start_seconds,
        open_seconds=opening * factor,
        step_seconds=middle * factor,
        step_spread=spread * factor,
        timed_steps=len(trial.step_seconds),
        train_seconds=train * factor,
        evaluate_seconds=evaluate * factor,
        save_seconds=save * factor,
        raw_total=start_seconds + raw,
        raw_tokens_per_second=step_tokens / middle,
        # Corrected by the same factor as the time.
        tokens_per_second=speed.scaled(step_tokens / middle / factor / speed.value),
        total_seconds=rest.shifted(start_seconds),
    )


def run_seconds(
    recipe: Recipe, steps: int, tokens: int, speed: Estimate, train_tokens: int, valid_tokens: int
) -> Estimate:
    """Return the seconds of `steps` steps over `tokens` at a `speed` in tokens a second of training, given the tokens of both
    splits.

    Tokens are targets that count, and the speed is in those.
    """
    plan = plan_evaluations(recipe, steps, valid_tokens, train_tokens)
    scored = plan.tokens_in_all(steps, recipe.evaluate.every) * FORWARD_SHARE
    seconds = quotient(exact(tokens + scored), speed)
    return seconds.shifted(START_SECONDS)
