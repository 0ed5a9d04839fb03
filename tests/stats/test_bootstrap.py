"""Intervals of ratios of sums over units."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.stats import ratio_interval, ratio_standard_error


def units(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 200, size=count).astype(float)
    return tokens * generator.normal(1.5, 0.3, size=count), tokens


def test_interval_and_standard_error_agree_with_a_slow_bootstrap():
    nats, tokens = units(0, 150)
    generator = np.random.default_rng(99)
    slow = []
    for _ in range(2000):
        drawn = [generator.integers(0, 150) for _ in range(150)]
        slow.append(sum(nats[i] for i in drawn) / sum(tokens[i] for i in drawn))
    interval = ratio_interval(nats, tokens, resamples=2000)
    assert interval.estimate == pytest.approx(nats.sum() / tokens.sum(), rel=1e-12)
    width = interval.high - interval.low
    assert interval.low == pytest.approx(np.quantile(slow, 0.025), abs=0.15 * width)
    assert interval.high == pytest.approx(np.quantile(slow, 0.975), abs=0.15 * width)
    assert ratio_standard_error(nats, tokens) == pytest.approx(np.std(slow), rel=0.1)


def test_standard_error_of_equal_denominators_is_that_of_a_mean():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    expected = values.std(ddof=1) / math.sqrt(4)
    assert ratio_standard_error(values, np.ones(4)) == pytest.approx(expected, rel=1e-12)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        nats, tokens = units(seed + 1, 80)
        interval = ratio_interval(nats, tokens, resamples=200)
        covered += interval.low <= 1.5 <= interval.high
    assert 0.86 <= covered / 200 <= 0.99


def test_interval_is_the_same_for_the_same_seed_and_in_small_pieces(monkeypatch):
    nats, tokens = units(3, 50)
    once = ratio_interval(nats, tokens, resamples=100, seed=4)
    assert once == ratio_interval(nats, tokens, resamples=100, seed=4)
    assert once != ratio_interval(nats, tokens, resamples=100, seed=5)
    monkeypatch.setattr("lmlab.stats.bootstrap.DRAWS_AT_ONCE", 10)
    assert ratio_interval(nats, tokens, resamples=100, seed=4) == once


def test_units_that_were_not_scored_are_left_out():
    nats, tokens = units(5, 40)
    holes = np.concatenate([nats, [np.nan, np.nan]])
    with_holes = ratio_interval(holes, np.concatenate([tokens, [10.0, 20.0]]))
    assert with_holes == ratio_interval(nats, tokens)
    assert with_holes.units == 40


def test_one_unit_has_an_estimate_and_no_limits():
    interval = ratio_interval([3.0], [2.0])
    assert interval.estimate == 1.5 and math.isnan(interval.low) and math.isnan(interval.high)
    assert math.isnan(ratio_standard_error([3.0], [2.0]))


def test_a_wrong_level_or_unequal_lengths_are_refused():
    with pytest.raises(LabError, match="level"):
        ratio_interval([1.0, 2.0], [1.0, 1.0], level=95)
    with pytest.raises(LabError, match="one length"):
        ratio_interval([1.0, 2.0], [1.0])
