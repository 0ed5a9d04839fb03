"""Kendall's tau-b and its intervals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from lmlab import LabError
from lmlab.stats.kendall import kendall_tau, kendall_tau_within, tau_p_value


@pytest.mark.parametrize("values", [3, 6, 1000])
def test_tau_b_with_ties_equals_scipys(values):
    generator = np.random.default_rng(values)
    for _ in range(10):
        first = generator.integers(0, values, 40)
        second = first + generator.integers(0, values, 40)
        assert kendall_tau(first, second).estimate == pytest.approx(scipy.stats.kendalltau(first, second)[0])


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_interval_covers_the_tau_of_normal_pairs_as_often_as_it_says(correlation):
    truth = 2 / math.pi * math.asin(correlation)
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        first = generator.normal(size=30)
        second = correlation * first + math.sqrt(1 - correlation**2) * generator.normal(size=30)
        found = kendall_tau(first, second)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.99


def test_tau_within_questions_equals_the_count_of_pairs_and_ignores_how_hard_questions_are():
    levels, scores = [0, 1, 2, 0, 1, 2], [10, 30, 20, 90, 80, 80]
    found = kendall_tau_within(levels, scores, ["a", "a", "a", "b", "b", "b"])
    # a: 2 concordant, 1 discordant; b: 2 discordant, 1 tie of the scores
    assert found.estimate == pytest.approx((2 - 1 - 2) / math.sqrt(6 * 5))
    assert found.units == 2


@pytest.mark.parametrize("questions", [8, 40])
def test_interval_within_questions_covers_as_often_as_it_says(questions):
    generator = np.random.default_rng(questions)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        levels = np.tile(np.arange(4.0), count)
        of = np.repeat(np.arange(count), 4)
        return levels, levels + 2 * generator.normal(size=4 * count) + 50 * generator.normal(size=count)[of], of

    truth = kendall_tau_within(*drawn(4000)).estimate
    covered = 0
    for _ in range(200):
        found = kendall_tau_within(*drawn(questions))
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 200 <= 0.99


def test_perfect_agreement_of_few_is_not_certain():
    found = kendall_tau(range(6), range(6))
    assert found.estimate == 1.0
    assert found.low < 0.5 < found.high == 1.0
    within = kendall_tau_within([0, 1] * 20, [0, 1] * 20, np.repeat(range(20), 2))
    assert within.estimate == 1.0
    assert 0.5 < within.low < within.high == 1.0


def test_nothing_to_order_has_no_tau():
    assert math.isnan(kendall_tau([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]).estimate)
    assert math.isnan(kendall_tau([], []).estimate)
    assert math.isnan(kendall_tau_within([1, 2], [1, 2], ["a", "b"]).estimate)
    assert kendall_tau([1, 2, math.nan, 3, 4], [1, 2, 3, 4, 5]).units == 4
    with pytest.raises(LabError, match="two lists of one length"):
        kendall_tau([1, 2], [1])


@pytest.mark.parametrize("count", [4, 6, 8, 12])
def test_the_p_value_is_scipys_exact_one(count):
    rng = np.random.default_rng(count)
    for _ in range(5):
        x, y = rng.normal(size=(2, count))
        assert tau_p_value(x, y) == pytest.approx(scipy.stats.kendalltau(x, y, method="exact").pvalue)


def test_the_p_value_counts_permutations_with_ties_too():
    x, y = [1, 1, 2, 3], [1, 2, 2, 3]
    permuted = [kendall_tau(x, order).estimate for order in itertools.permutations(y)]
    at_least = sum(abs(one) >= abs(kendall_tau(x, y).estimate) - 1e-12 for one in permuted)
    assert tau_p_value(x, y) == pytest.approx(at_least / len(permuted))
    assert math.isnan(tau_p_value([1, 2, 3], [5, 5, 5]))
