"""Order consistency, false verdicts and the agreement of judges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from lmlab import LabError
from lmlab.stats.false_verdicts import false_verdicts
from lmlab.stats.order import order_consistency
from lmlab.stats.rank_agreement import rank_agreement


def test_judge_of_answers_is_consistent_and_judge_of_places_biased():
    wins = np.array([1.0, 0.0, 1.0, 0.5] * 10)
    fair = order_consistency(wins, wins)
    assert fair.consistent.estimate == 1.0
    assert fair.bias.estimate == 0.0
    first = order_consistency(np.ones(40), np.zeros(40))
    assert (first.consistent.estimate, first.bias.estimate, first.first_always) == (0.0, 0.5, 40)
    second = order_consistency(np.zeros(40), np.ones(40))
    assert (second.bias.estimate, second.second_always) == (-0.5, 40)


def test_counts_of_a_few_pairs_written_out():
    found = order_consistency([1, 1, 0, 0.5, math.nan], [1, 0, 0.5, 0.5, 1])
    assert (found.consistent.right, found.consistent.trials, found.missing) == (2, 4, 1)
    # the first shown gets 1, 1, 0, .5 in order and 0, 1, .5, .5 exchanged: 4.5 of 8 points
    assert found.bias.estimate == pytest.approx(4.5 / 8 - 0.5)
    assert found.by_chance == pytest.approx((2 * 1 + 1 * 1 + 1 * 2) / 16)


def test_interval_of_the_bias_covers_a_planted_one():
    covered = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        quality = generator.normal(size=60)
        shown = (quality + generator.normal(size=60) + 0.5 > 0).astype(float)
        turned = (quality + generator.normal(size=60) - 0.5 > 0).astype(float)
        found = order_consistency(shown, turned)
        truth = scipy.stats.norm.cdf(0.5 / math.sqrt(2)) - 0.5
        covered += found.bias.low <= truth <= found.bias.high
    assert 0.91 <= covered / 300 <= 0.985


def test_pairs_of_one_question_count_as_dependent():
    generator = np.random.default_rng(0)
    question = np.repeat(np.arange(20), 10)
    consistent = generator.random(20)[question] < 0.5
    shown = np.ones(200)
    turned = consistent.astype(float)
    by_question = order_consistency(shown, turned, question)
    assert by_question.bias.units == 20
    alone = order_consistency(shown, turned)
    assert by_question.consistent.high - by_question.consistent.low > 2 * (alone.consistent.high - alone.consistent.low)


def test_no_pairs_and_odd_verdicts():
    found = order_consistency([math.nan], [1.0])
    assert math.isnan(found.consistent.estimate)
    assert math.isnan(found.bias.estimate)
    with pytest.raises(LabError, match="a verdict is 2"):
        order_consistency([2.0], [1.0])


@pytest.mark.parametrize(("false", "comparisons"), [(0, 20), (3, 40), (40, 40)])
def test_limits_and_p_value_of_false_verdicts_equal_scipys_exact_test(false, comparisons):
    found = false_verdicts(false, comparisons)
    exact = scipy.stats.binomtest(false, comparisons, 0.05, alternative="greater")
    limits = scipy.stats.binomtest(false, comparisons).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))
    assert found.p_value == pytest.approx(exact.pvalue)
    assert found.too_many == (exact.pvalue < 0.05)


def test_impossible_counts_of_false_verdicts_are_refused_and_none_say_nothing():
    with pytest.raises(LabError, match="3 false verdicts in 2"):
        false_verdicts(3, 2)
    assert math.isnan(false_verdicts(0, 0).rate)


def test_judges_that_agree_on_models_and_answers_and_a_noisy_one():
    generator = np.random.default_rng(1)
    quality = np.array([10.0, 30.0, 50.0, 70.0])[:, None] + 10 * generator.normal(size=(4, 110))
    same = rank_agreement(quality, 2 * quality + 5)
    assert same.of_means.estimate == same.within.estimate == 1.0
    assert same.same_best
    turned = rank_agreement(quality, -quality)
    assert turned.of_means.estimate == turned.within.estimate == -1.0
    assert not turned.same_best
    noisy = rank_agreement(quality, quality + 100 * generator.normal(size=(4, 110)))
    assert 0.0 < noisy.within.low < noisy.within.estimate < noisy.within.high < 0.6


def test_agreement_of_means_equals_scipys_tau_and_skips_what_either_missed():
    generator = np.random.default_rng(2)
    first, second = generator.normal(size=(5, 30)), generator.normal(size=(5, 30))
    first[generator.random((5, 30)) < 0.2] = math.nan
    both = ~np.isnan(first)
    means = [[table[model][both[model]].mean() for model in range(5)] for table in (first, second)]
    found = rank_agreement(first, second)
    assert found.of_means.estimate == pytest.approx(scipy.stats.kendalltau(*means)[0])
    assert found.of_means.low <= found.of_means.estimate <= found.of_means.high


def test_agreement_of_one_model_or_of_other_shapes():
    assert math.isnan(rank_agreement([[1.0, 2.0]], [[2.0, 1.0]]).of_means.estimate)
    with pytest.raises(LabError, match="models by questions"):
        rank_agreement([1.0], [1.0])
