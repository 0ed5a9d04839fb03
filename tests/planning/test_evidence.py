"""Losses that were extrapolated and missed make the next interval wider; its middle stays where its own trainings put it."""

import math

import numpy as np
import pytest
from scipy import stats

from lmlab.planning.forecasts.calibration import calibration_of
from lmlab.planning.losses.evidence import OWN_WORTH, _corrected
from lmlab.scaling.estimate import LEVEL, Estimate

LADDER = Estimate(value=2.0, low=1.9, high=2.0**2 / 1.9, evidence="extrapolated")


def test_without_earlier_ladders_an_interval_stays():
    assert _corrected(LADDER, {}) == LADDER
    assert _corrected(LADDER, {"final_loss": calibration_of("final_loss", ())}) == LADDER


@pytest.mark.parametrize("ratios", [[1.15, 0.85] * 20, [1.15] * 40])
def test_ladders_that_missed_by_a_sixth_either_way_or_all_one_way_widen_it(ratios):
    found = _corrected(LADDER, {"final_loss": calibration_of("final_loss", ratios)})
    assert found.value == LADDER.value and found.low < 1.75 and found.high > 2.28
    assert math.log(found.high / 2.0) == pytest.approx(math.log(2.0 / found.low))


def test_the_interval_is_that_of_an_unknown_variance_integrated_over_a_grid():
    ratios = [1.06, 0.97, 1.11, 1.02]
    own = math.log(LADDER.high / LADDER.low) / 2 / stats.t(OWN_WORTH).ppf((1 + LEVEL) / 2)
    spreads = np.geomspace(own / 30, own * 60, 20_001)
    prior = stats.invgamma(OWN_WORTH / 2, scale=OWN_WORTH / 2 * own**2).logpdf(spreads**2) + 2 * np.log(spreads)
    log_density = prior + sum(stats.norm(0, spreads).logpdf(math.log(ratio)) for ratio in ratios)
    weights = np.exp(log_density - log_density.max())
    found = _corrected(LADDER, {"final_loss": calibration_of("final_loss", ratios)})
    below = (weights * stats.norm(0, spreads).cdf(math.log(found.high / 2.0))).sum() / weights.sum()
    assert below == pytest.approx((1 + LEVEL) / 2, abs=1e-4)
