"""Forecasts learn from earlier ones: they move to where those should have been, and become as wide as those needed."""

import math

import numpy as np
import pytest

from lmlab.planning.calibration import PRIOR_SPREADS, calibrated, calibration_of


def test_without_runs_nothing_is_corrected_and_the_interval_is_the_prior_one():
    known = calibration_of("total_seconds", ())
    assert known.factor == 1.0 and known.runs == 0
    assert known.spread == pytest.approx(PRIOR_SPREADS["total_seconds"])


def test_many_runs_that_took_a_fifth_longer_make_the_next_forecast_a_fifth_longer():
    generator = np.random.default_rng(1)
    ratios = 1.2 * np.exp(0.03 * generator.standard_normal(200))
    known = calibration_of("total_seconds", ratios)
    assert known.factor == pytest.approx(1.2, rel=0.01)
    assert known.spread == pytest.approx(0.03, rel=0.2)
    estimate = calibrated("total_seconds", 100.0, {"total_seconds": known}, "8 steps")
    assert estimate.value == pytest.approx(120, rel=0.01)
    held = sum(estimate.holds(100.0 * ratio) for ratio in ratios) / len(ratios)
    assert 0.7 < held < 0.9 and "after 200 runs" in estimate.rests_on


def test_a_disturbed_run_teaches_nothing():
    assert calibration_of("total_seconds", [1.0, 7.0, 0.01]) == calibration_of("total_seconds", [1.0])


def test_a_runs_own_spread_widens_its_interval():
    narrow = calibrated("total_seconds", 10.0, {}, "")
    wide = calibrated("total_seconds", 10.0, {}, "", own_spread=0.2)
    assert wide.low < narrow.low < 10 < narrow.high < wide.high
    assert math.log(wide.high / 10) == pytest.approx(math.log(10 / wide.low))
