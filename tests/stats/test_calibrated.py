"""Shares of right answers behind an imperfect judge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.stats.calibrated import calibrated


def test_estimate_is_rogan_and_gladens():
    found = calibrated(50, 100, right_accepted=80, right=100, wrong_rejected=90, wrong=100)
    assert found.estimate == pytest.approx((0.5 + 0.9 - 1) / (0.9 + 0.8 - 1))
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("truth", [0.05, 0.4, 0.9])
@pytest.mark.parametrize(("specificity", "sensitivity", "labels"), [(0.9, 0.8, 30), (0.7, 0.75, 60), (0.95, 0.95, 15)])
def test_interval_covers_with_few_labels(truth, specificity, sensitivity, labels):
    generator = np.random.default_rng(1)
    covered, rounds = 0, 1000
    for _ in range(rounds):
        right = generator.binomial(110, truth)
        accepted = generator.binomial(right, sensitivity) + generator.binomial(110 - right, 1 - specificity)
        found = calibrated(
            int(accepted),
            110,
            right_accepted=int(generator.binomial(labels, sensitivity)),
            right=labels,
            wrong_rejected=int(generator.binomial(labels, specificity)),
            wrong=labels,
        )
        covered += found.low <= truth <= found.high
    assert covered / rounds >= 0.93


def test_interval_without_the_uncertainty_of_the_labels_would_miss_more():
    few = calibrated(50, 1000, right_accepted=16, right=20, wrong_rejected=19, wrong=20)
    many = calibrated(50, 1000, right_accepted=1600, right=2000, wrong_rejected=1900, wrong=2000)
    assert few.high - few.low > 3 * (many.high - many.low)


def test_judge_that_accepts_at_random_tells_nothing():
    found = calibrated(60, 100, right_accepted=30, right=50, wrong_rejected=20, wrong=50)
    assert not found.informative
    assert math.isnan(found.estimate)
    assert (found.low, found.high) == (0.0, 1.0)


def test_counts_beyond_their_total_are_refused():
    with pytest.raises(LabError, match="5 of 0 accepted right labels"):
        calibrated(5, 10, right_accepted=5, right=0, wrong_rejected=1, wrong=1)
