"""Whether a curve is still falling, against curves with known slopes."""

from __future__ import annotations

import math

import pytest

from lmlab.stats import nats_per_doubling, still_falling


def test_nats_per_doubling_is_the_slope_of_a_logarithmic_curve():
    steps = [100, 200, 400, 600, 700, 800]
    slope, error = nats_per_doubling(steps, [3.0 - 0.25 * math.log2(step) for step in steps])
    assert slope == pytest.approx(-0.25, rel=1e-9) and error < 1e-9
    assert math.isnan(nats_per_doubling([0, 1], [2.0, 1.0])[0])


def test_a_settled_curve_is_not_falling():
    steps = list(range(100, 2100, 100))
    assert not still_falling(steps, [1.5 + 2.0 * math.exp(-step / 100) for step in steps])
    assert not still_falling([1, 2], [2.0, 1.0])
