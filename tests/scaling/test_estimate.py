"""Estimates keep their interval and evidence through arithmetic."""

import pytest

from lmlab.scaling.estimate import Estimate, exact


def test_a_scaled_estimate_scales_its_limits_and_keeps_what_it_rests_on():
    one = Estimate(value=2.0, low=1.5, high=3.0, evidence="fitted", rests_on="8 steps", alarm="busy")
    many = one.scaled(10)
    assert (many.value, many.low, many.high) == (20.0, 15.0, 30.0)
    assert (many.evidence, many.rests_on, many.alarm) == ("fitted", "8 steps", "busy")


@pytest.mark.parametrize(("measured", "inside"), [(1.4, False), (1.5, True), (2.9, True), (3.1, False)])
def test_an_estimate_holds_what_lies_between_its_limits(measured, inside):
    assert Estimate(value=2.0, low=1.5, high=3.0, evidence="measured").holds(measured) is inside


def test_a_computed_figure_has_no_width_and_says_so_in_json():
    assert exact(3.0, "6ND").to_json() == {
        **{"value": 3.0, "low": 3.0, "high": 3.0, "evidence": "formula", "rests_on": "6ND", "alarm": "", "level": 0.8}
    }
