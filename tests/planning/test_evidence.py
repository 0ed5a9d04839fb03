"""Losses that were extrapolated and missed make the next interval wider; its middle stays where its own trainings put it."""

import math

import pytest

from lmlab.planning.calibration import calibration_of
from lmlab.planning.evidence import _corrected
from lmlab.scaling.estimate import Estimate

LADDER = Estimate(value=2.0, low=1.9, high=2.0**2 / 1.9, evidence="extrapolated")


def test_without_earlier_ladders_an_interval_stays():
    assert _corrected(LADDER, {}) == LADDER
    assert _corrected(LADDER, {"final_loss": calibration_of("final_loss", ())}) == LADDER


@pytest.mark.parametrize("ratios", [[1.15, 0.85] * 20, [1.15] * 40])
def test_ladders_that_missed_by_a_sixth_either_way_or_all_one_way_widen_it(ratios):
    found = _corrected(LADDER, {"final_loss": calibration_of("final_loss", ratios)})
    assert found.value == LADDER.value and found.low < 1.75 and found.high > 2.28
    assert math.log(found.high / 2.0) == pytest.approx(math.log(2.0 / found.low))
