"""Forecasts learn from earlier ones: they move to where those should have been, and become as wide as those needed."""

import math

import numpy as np
import pytest
from scipy import stats

from lmlab.planning.forecasts.calibration import (
    PRIOR_MEAN_RUNS,
    PRIOR_SPREAD_RUNS,
    PRIOR_SPREADS,
    calibrated,
    calibration_of,
)
from lmlab.scaling.estimate import LEVEL, NORMAL_QUANTILE

PRIOR = PRIOR_SPREADS["total_seconds"]


def test_without_runs_nothing_is_corrected_and_the_interval_is_the_predictive_one_of_the_prior():
    known = calibration_of("total_seconds", ())
    assert known.factor == 1.0 and known.runs == 0
    assert known.spread == pytest.approx(PRIOR)
    _, low, high = known.around(1.0)
    scale = PRIOR * math.sqrt(1 + 1 / PRIOR_MEAN_RUNS)
    expected = stats.t(PRIOR_SPREAD_RUNS, scale=scale).interval(LEVEL)
    assert (math.log(low), math.log(high)) == pytest.approx(expected)


def test_many_runs_that_took_a_fifth_longer_make_the_next_forecast_a_fifth_longer():
    generator = np.random.default_rng(1)
    ratios = 1.2 * np.exp(0.03 * generator.standard_normal(2_000))
    known = calibration_of("total_seconds", ratios)
    assert known.factor == pytest.approx(1.2, rel=0.01)
    assert known.spread == pytest.approx(0.03, rel=0.2)
    estimate = calibrated("total_seconds", 100.0, {"total_seconds": known}, "8 steps")
    assert estimate.value == pytest.approx(120, rel=0.01)
    held = sum(estimate.holds(100.0 * ratio) for ratio in ratios) / len(ratios)
    assert 0.7 < held < 0.9 and "after 2000 runs" in estimate.rests_on


def test_after_very_many_runs_the_interval_is_the_normal_one_of_mean_and_standard_deviation():
    logs = 0.1 + 0.04 * np.random.default_rng(2).standard_normal(200_000)
    known = calibration_of("total_seconds", np.exp(logs))
    middle, low, high = known.around(1.0)
    assert math.log(middle) == pytest.approx(logs.mean(), abs=1e-4)
    assert math.log(high / low) / 2 == pytest.approx(NORMAL_QUANTILE * logs.std(), rel=1e-3)


def test_the_interval_is_that_of_the_posterior_integrated_over_a_grid():
    """The predictive distribution from likelihood times prior on a grid of (mean, variance), with no conjugate formula."""
    ratios = [1.31, 1.12, 1.22]
    logs = np.log(ratios)
    means = np.linspace(-1.0, 1.3, 801)[:, None]
    spreads = np.geomspace(0.008, 1.5, 801)[None, :]
    log_density = stats.invgamma(PRIOR_SPREAD_RUNS / 2, scale=PRIOR_SPREAD_RUNS / 2 * PRIOR**2).logpdf(spreads**2)
    # The density of the variance, as one of log(spread), along which the grid is even.
    log_density = log_density + 2 * np.log(spreads) + stats.norm(0, spreads / PRIOR_MEAN_RUNS**0.5).logpdf(means)
    for one in logs:
        log_density = log_density + stats.norm(means, spreads).logpdf(one)
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    _, low, high = calibration_of("total_seconds", ratios).around(1.0)
    for limit, below in ((low, (1 - LEVEL) / 2), (high, (1 + LEVEL) / 2)):
        predicted = (weights * stats.norm(means, spreads).cdf(math.log(limit))).sum()
        assert predicted == pytest.approx(below, abs=2e-4)


@pytest.mark.parametrize("runs", [0, 1, 3, 10, 40])
def test_four_of_five_intervals_hold_over_machines_drawn_from_the_prior(runs):
    """A machine's mean and spread are drawn, then its runs and the one that is forecast. The plug-in interval holds less often."""
    generator = np.random.default_rng(3)
    held, plug_in, draws = 0, 0, 4_000
    for _ in range(draws):
        spread = PRIOR * math.sqrt(PRIOR_SPREAD_RUNS / generator.chisquare(PRIOR_SPREAD_RUNS))
        mean = spread / math.sqrt(PRIOR_MEAN_RUNS) * generator.standard_normal()
        *earlier, new = np.exp(np.clip(mean + spread * generator.standard_normal(runs + 1), -1.09, 1.09))
        known = calibration_of("total_seconds", earlier)
        middle, low, high = known.around(1.0)
        held += low <= new <= high
        plug_in += abs(math.log(new / middle)) <= math.log(high / middle) / math.sqrt(1 + 1 / known.mean_runs)
    error = 3.5 * math.sqrt(LEVEL * (1 - LEVEL) / draws)
    assert held / draws == pytest.approx(LEVEL, abs=error)
    if runs <= 1:
        assert plug_in / draws < LEVEL - 0.01


def test_a_disturbed_run_teaches_nothing():
    assert calibration_of("total_seconds", [1.0, 7.0, 0.01]) == calibration_of("total_seconds", [1.0])


def test_a_runs_own_spread_widens_its_interval():
    narrow = calibrated("total_seconds", 10.0, {}, "")
    wide = calibrated("total_seconds", 10.0, {}, "", own_spread=0.2)
    assert wide.low < narrow.low < 10 < narrow.high < wide.high
    assert math.log(wide.high / 10) == pytest.approx(math.log(10 / wide.low))
