"""Forecasts of time on a machine that others use too: simulated loads, which come and go while a run trains."""

import dataclasses
import math

import numpy as np
import pytest

from lmlab.planning.forecasts.duration import duration_of
from lmlab.planning.forecasts.score import CORRECTED, calibrations_from, score, score_line
from lmlab.planning.trials.child import Measurement
from lmlab.recipe import Recipe, override
from lmlab.scaling.estimate import LEVEL
from lmlab.training import pace
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.load import CHANGED, QUIET, load_spread, load_words, slowed
from lmlab.training.pace import Expected, Pace

THREADS = CORES = 2
STEP = 0.05
"""Seconds of a step on the quiet machine."""
NOISE = 0.03


class Machine:
    """Two cores, which other tasks come to and leave again."""

    def __init__(self, generator, mean_seconds: float, crowd=(0, 0, 1, 2, 4)) -> None:
        self.generator, self.mean, self.crowd = generator, mean_seconds, crowd
        self.others, self.left = int(generator.choice(crowd)), float(generator.exponential(mean_seconds))

    @property
    def share(self) -> float:
        return min(1.0, CORES / (self.others + THREADS))

    def step(self) -> tuple[float, float]:
        """Seconds of a step from now on, and the share that it had."""
        share = self.share
        seconds = STEP * math.exp(NOISE * self.generator.normal()) / share
        self.left -= seconds
        while self.left < 0:
            self.others = int(self.generator.choice(self.crowd))
            self.left += float(self.generator.exponential(self.mean))
        return seconds, share


def trained(machine: Machine, steps: int, monkeypatch) -> tuple[float, object, object]:
    """What a run takes, its forecast, and its correction, if it has one."""
    tried = [machine.step() for _ in range(8)]
    shares = [share for _, share in tried]
    measurement = Measurement(
        micro_batch=1,
        batch=1,
        step_seconds=tuple(seconds for seconds, _ in tried),
        processor_share=float(np.mean(shares)),
    )
    recipe = override(Recipe(), {"train.batch": "1", "train.steps": str(steps), "evaluate.every": str(steps)})
    plan = EvaluationPlan(wanted=(0, 0), valid_tokens=0, train_tokens=0, split_tokens=0)
    forecast = duration_of(recipe, measurement, steps, plan, {}, 1)
    seen: list[float] = []

    class Meter:
        def __init__(self, threads: int) -> None:
            seen.clear()

        def share(self) -> float:
            return float(np.mean(seen))

    monkeypatch.setattr(pace, "ShareMeter", Meter)
    expected = Expected(
        total_seconds=forecast.total_seconds.value,
        step_seconds=forecast.step_seconds,
        closing_seconds=0.0,
        processor_share=measurement.processor_share,
    )
    own, spent, correction = Pace(expected, THREADS), 0.0, None
    for step in range(1, steps + 1):
        seconds, share = machine.step()
        spent += seconds
        own.add(seconds)
        seen.append(share)
        left = (steps - step) * (own.step_seconds or 0.0)
        correction = own.correction(step, spent, left) or correction
    return spent, forecast.total_seconds, correction


def coverage(mean_seconds: float, monkeypatch) -> tuple[float, float]:
    """The share of intervals that held, of forecasts and of their corrections."""
    generator = np.random.default_rng(5)
    held, again, errors, corrected = [], [], [], []
    for _ in range(150):
        machine = Machine(generator, mean_seconds)
        took, forecast, correction = trained(machine, int(generator.integers(200, 2_000)), monkeypatch)
        held.append(forecast.holds(took))
        errors.append(abs(math.log(took / forecast.value)))
        again.append(correction.low <= took <= correction.high)
        corrected.append(abs(math.log(took / correction.total_seconds)))
    assert np.mean(corrected) < np.mean(errors), "its own first steps tell more of a run than those before it"
    return float(np.mean(held)), float(np.mean(again))


def test_intervals_hold_about_as_often_as_they_say_while_loads_come_and_go(monkeypatch):
    # Loads of seconds, of minutes, and of about as long as the longest run.
    found = [coverage(mean_seconds, monkeypatch) for mean_seconds in (20.0, 60.0, 120.0, 300.0)]
    forecasts, corrections = np.array(found).T
    assert min(forecasts) > 0.6 and min(corrections) > 0.6
    assert abs(np.mean(forecasts) - LEVEL) < 0.1
    assert abs(np.mean(corrections) - LEVEL) < 0.1


def test_on_a_quiet_machine_the_interval_is_as_narrow_as_it_was():
    assert load_spread(1.0) == load_spread(QUIET) == 0
    assert load_spread(0.25) > load_spread(0.5) > 0
    assert load_words(1.0) == "" and "50%" in load_words(0.5)


def test_what_was_tried_beside_other_work_is_read_as_with_the_load_of_now():
    assert slowed(2.0, 0.5, 1.0) == pytest.approx(1.0)
    assert slowed(1.0, 1.0, 0.5) == pytest.approx(2.0)
    assert slowed(1.0, 0.98, 0.98 - 0.9 * CHANGED) == 1.0


def planned(measurement: Measurement, calibrations=None):
    recipe = override(Recipe(), {"train.batch": "4", "evaluate.every": "100"})
    plan = EvaluationPlan(wanted=(100, 100), valid_tokens=100, train_tokens=100, split_tokens=1_000)
    return duration_of(recipe, measurement, 100, plan, calibrations or {}, 400)


def test_every_line_has_one_speed():
    tried = Measurement(micro_batch=4, batch=4, step_seconds=(0.2,) * 8, forward_tokens_per_second=6_000)
    off = {"total_seconds": {"raw_ratio": 1.3, "since": "process"}, "tokens_per_second": {"raw_ratio": 0.9}}
    for calibrations in ({}, calibrations_from([off] * 3)):
        found = planned(tried, calibrations)
        assert found.tokens_per_second.value == pytest.approx(400 / found.step_seconds)
        assert found.train_seconds == pytest.approx(100 * found.step_seconds)
        parts = found.open_seconds + found.train_seconds + found.evaluate_seconds + found.save_seconds
        assert found.total_seconds.value == pytest.approx(parts)
        assert found.raw_tokens_per_second == pytest.approx(400 / 0.2)


def test_the_interval_of_a_busy_machine_reaches_from_a_quiet_one_to_one_twice_as_busy():
    quiet = Measurement(micro_batch=4, batch=4, step_seconds=(0.2,) * 8, forward_tokens_per_second=6_000)
    calm, busy = planned(quiet).total_seconds, planned(dataclasses.replace(quiet, processor_share=0.5)).total_seconds
    assert calm.value == busy.value
    assert busy.low < calm.value / 2 < busy.value / 1.9 < calm.low
    assert busy.high > 2 * calm.value


EXPECTED = Expected(total_seconds=88.0, step_seconds=0.05, closing_seconds=4.0, processor_share=0.5)


def own_pace(monkeypatch, share: float) -> Pace:
    monkeypatch.setattr(pace, "ShareMeter", lambda threads: type("Meter", (), {"share": lambda self: share})())
    return Pace(EXPECTED, 2)


def test_a_forecast_is_corrected_once_by_the_first_seconds(monkeypatch):
    own = own_pace(monkeypatch, 1.0)
    assert own.step_seconds is None
    own.add(3.0)  # compiles
    assert own.step_seconds == 3.0
    for step in range(1, 201):
        own.add(0.025)
        found = own.correction(step, 0.025 * step, 40.0)
        assert (found is not None) == (step == 200), "10 steps and 5 s"
    assert own.step_seconds == pytest.approx(0.025) and own.closing_seconds == pytest.approx(2.0)
    assert found.total_seconds == pytest.approx(45.0) and found.low < 45 < found.high
    assert own.correction(201, 6.0, 39.0) is None
    assert pace.correction_words(found, EXPECTED) == (
        "now about 40 s left, 45 s in all (forecast 1 min 28 s); a step takes 25 ms (forecast 50 ms): the machine is quieter "
        "than when steps were tried"
    )
    as_expected = dataclasses.replace(found, total_seconds=90.0)
    assert pace.correction_words(as_expected, EXPECTED) == ""


def test_long_steps_correct_it_after_a_few(monkeypatch):
    own = own_pace(monkeypatch, 0.4)
    found = None
    for step in range(1, 6):
        own.add(8.0)
        found = found or own.correction(step, 8.0 * step, 100.0)
    assert found is not None and found.step == 4
    assert "busier than when steps were tried" in pace.correction_words(
        dataclasses.replace(found, processor_share=0.2), EXPECTED
    )


def test_a_run_that_goes_on_has_a_pace_and_no_correction():
    own = Pace(None, 1)
    for _ in range(300):
        own.add(0.1)
    assert own.correction(300, 30.0, 10.0) is None
    assert own.step_seconds == pytest.approx(0.1) and own.closing_seconds == 0


@pytest.mark.parametrize(
    "forecast", [None, [], {}, {"total_seconds": "soon"}, {"total_seconds": 1.0, "step_seconds": 0}]
)
def test_a_damaged_forecast_is_corrected_by_nothing(forecast):
    assert pace.expected_time(forecast, 0.1) is None


FORECAST = {
    "total_seconds": 88.0,
    "step_seconds": 0.05,
    "evaluate_seconds": 8.0,
    "processor_share": 0.5,
    "figures": {"total_seconds": {"value": 88.0, "low": 44.0, "high": 90.0}},
    "raw": {"total_seconds": 88.0},
    "since": "process",
}


def test_a_score_has_the_forecast_and_its_correction():
    assert pace.expected_time(FORECAST, 0.5) == EXPECTED
    corrected = FORECAST | {"correction": {"total_seconds": 45.0, "low": 42.0, "high": 48.0}}
    assert pace.expected_time(corrected, 0.5) is None, "once"
    found = score(corrected, {"total_seconds": 46.0})
    assert found["total_seconds"]["forecast"] == 88.0 and found[CORRECTED]["forecast"] == 45.0
    assert found[CORRECTED]["inside"]
    assert "corrected by its first steps to 45 s, x1.02" in score_line(found)


def test_a_load_while_steps_were_tried_teaches_nothing_and_one_that_came_later_how_wide_to_be():
    quiet = score(FORECAST | {"processor_share": 1.0}, {"total_seconds": 92.0}, 1.0)
    assert "busy" not in quiet["total_seconds"]
    tried = score(FORECAST, {"total_seconds": 44.0}, 1.0)
    later = score(FORECAST | {"processor_share": 1.0}, {"total_seconds": 170.0}, 0.5)
    of_quiet = calibrations_from([quiet] * 3)["total_seconds"]
    assert calibrations_from([quiet] * 3 + [tried] * 9)["total_seconds"] == of_quiet
    wider = calibrations_from([quiet] * 3 + [later] * 3)["total_seconds"]
    assert wider.factor == of_quiet.factor and wider.spread > 2 * of_quiet.spread
