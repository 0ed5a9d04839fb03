"""Shares of right answers against SciPy's intervals and tests, and against the power that so many items have."""

import math

import numpy as np
import pytest
from scipy import stats

from lmlab.stats.paired_accuracy import exact_p_value, paired_accuracy
from lmlab.stats.proportion import proportion, smallest_between, smallest_from, wilson


@pytest.mark.parametrize("right, trials", [(0, 10), (3, 10), (50, 100), (2033, 3270), (100, 100)])
def test_the_interval_of_independent_items_is_wilson_s(right, trials):
    expected = stats.binomtest(right, trials).proportion_ci(method="wilson")
    found = proportion(np.arange(trials) < right)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.right, found.trials, found.effective) == (right, trials, trials)


def test_items_that_are_copies_of_one_another_count_once():
    answers = np.random.default_rng(0).random(400) < 0.6
    alone = proportion(answers)
    copied = proportion(np.repeat(answers, 5), np.repeat(np.arange(400), 5))
    assert copied.estimate == alone.estimate
    assert copied.effective == pytest.approx(400, rel=0.01)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), rel=0.01)


def test_clusters_that_vary_less_than_independent_items_narrow_nothing():
    pairs = np.tile([True, False], 100)
    assert proportion(pairs, np.repeat(np.arange(100), 2)).effective == 200


def test_where_all_are_right_each_cluster_counts_once():
    found = proportion(np.ones(60, bool), np.repeat(np.arange(20), 3))
    assert (found.low, found.high) == wilson(1.0, 20)


def test_the_interval_of_no_right_item_begins_at_exactly_0():
    assert [wilson(0.0, trials)[0] for trials in range(1, 2000)] == [0.0] * 1999
    assert [wilson(1.0, trials)[1] for trials in range(1, 2000)] == [1.0] * 1999


def test_no_items_have_no_share():
    assert math.isnan(proportion(np.zeros(0, bool)).estimate)


@pytest.mark.parametrize("fixed, trials", [(0.5, 500), (0.25, 1172), (0.622, 3270), (0.0, 5153)])
def test_the_smallest_difference_from_a_fixed_share_has_a_power_of_80_percent(fixed, trials):
    difference = smallest_from(fixed, trials)
    if not fixed:  # any right answer differs from a share of 0
        assert 1 - (1 - difference) ** trials == pytest.approx(0.5, abs=0.3)
        return
    threshold = fixed + stats.norm.isf(0.025) * math.sqrt(fixed * (1 - fixed) / trials)
    power = stats.binom.sf(math.ceil(threshold * trials) - 1, trials, fixed + difference)
    assert power == pytest.approx(0.8, abs=0.02)


def test_too_few_items_show_nothing():
    assert smallest_from(0.5, 3) == math.inf
    assert smallest_between(0.01, 100) == math.inf


def test_the_smallest_difference_of_two_models_is_found_in_four_of_five_samples():
    trials, disagreement = 1000, 0.2
    difference = smallest_between(disagreement, trials)
    chances = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    drawn = np.random.default_rng(0).multinomial(trials, chances, size=2000)
    found = np.mean([exact_p_value(first, second) < 0.05 for first, second, _ in drawn.tolist()])
    assert found == pytest.approx(0.78, abs=0.04)  # the exact test is slightly conservative


@pytest.mark.parametrize("first, second", [(0, 0), (0, 5), (12, 4), (300, 250), (7, 7)])
def test_the_exact_p_value_is_that_of_the_binomial_test(first, second):
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert exact_p_value(first, second) == pytest.approx(min(1.0, expected))


def test_a_paired_difference_counts_the_items_that_one_model_alone_gets_right():
    first = np.array([1, 1, 1, 0, 0, 1], bool)
    second = np.array([1, 0, 0, 1, 0, 0], bool)
    found = paired_accuracy(first, second)
    assert (found.items, found.first_only, found.second_only) == (6, 3, 1)
    assert found.difference == pytest.approx(4 / 6 - 2 / 6)
    assert found.disagreement == pytest.approx(4 / 6)


def test_clusters_of_one_item_give_mcnemar_s_test_without_correction():
    generator = np.random.default_rng(3)
    first, second = generator.random(500) < 0.6, generator.random(500) < 0.5
    found = paired_accuracy(first, second, np.arange(500))
    apart = (found.first_only - found.second_only) ** 2 / (found.first_only + found.second_only)
    assert found.p_value == pytest.approx(stats.chi2.sf(apart, 1))


def test_copied_items_in_clusters_give_no_smaller_p_value():
    generator = np.random.default_rng(4)
    first, second = generator.random(200) < 0.6, generator.random(200) < 0.5
    once = paired_accuracy(first, second, np.arange(200))
    copied = paired_accuracy(np.repeat(first, 4), np.repeat(second, 4), np.repeat(np.arange(200), 4))
    assert copied.p_value == pytest.approx(once.p_value)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_a_model_compared_with_itself_does_not_differ():
    right = np.random.default_rng(5).random(50) < 0.5
    assert paired_accuracy(right, right).p_value == 1.0
    assert paired_accuracy(right, right, np.arange(50)).p_value == 1.0
