"""Mean scores, their bounds, and how many questions show a difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from lmlab import LabError
from lmlab.stats.questions import questions_needed, smallest_difference
from lmlab.stats.scores import mean_score, score_difference


def test_mean_without_missing_scores_has_equal_bounds():
    found = mean_score([10.0, 30.0, 20.0])
    assert found.mean.estimate == found.lowest == found.highest == 20.0
    assert (found.low, found.high) == (found.mean.low, found.mean.high)
    assert (found.answers, found.missing) == (3, 0)


def test_bounds_are_the_means_with_every_missing_score_lowest_or_highest():
    scores = [10.0, math.nan, 20.0, math.nan]
    found = mean_score(scores)
    assert (found.mean.estimate, found.missing) == (15.0, 2)
    assert (found.lowest, found.highest) == (30 / 4, 230 / 4)
    assert found.low <= found.lowest <= found.highest <= found.high


def test_bounds_of_a_difference_use_the_score_that_is_there():
    found = score_difference([80.0, math.nan, 50.0], [60.0, 90.0, 50.0])
    assert found.mean.estimate == 10.0
    assert (found.lowest, found.highest) == ((20 - 90 + 0) / 3, (20 + 10 + 0) / 3)


def test_interval_over_questions_is_wider_than_over_dependent_answers():
    generator = np.random.default_rng(0)
    questions = np.repeat(np.arange(50), 6)
    scores = np.clip(50 + 20 * generator.normal(size=50)[questions] + 3 * generator.normal(size=300), 0, 100)
    by_question, by_answer = mean_score(scores, questions), mean_score(scores)
    assert by_question.mean.units == 50
    assert by_question.mean.high - by_question.mean.low > 2 * (by_answer.mean.high - by_answer.mean.low)


def test_interval_covers_when_missing_depends_on_the_score():
    covered = plain = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        scores = generator.uniform(0, 100, 110)
        scores[(scores < 30) & (generator.random(110) < 0.5)] = math.nan
        found = mean_score(scores, resamples=200)
        covered += found.low <= 50 <= found.high
        plain += found.mean.low <= 50 <= found.mean.high
    assert covered == 100
    assert plain < 60


def test_all_missing_leaves_the_scale():
    found = mean_score([math.nan, math.nan])
    assert math.isnan(found.mean.estimate)
    assert (found.lowest, found.highest) == (0.0, 100.0)


def test_score_outside_the_scale_is_refused():
    with pytest.raises(LabError, match="a score is 101"):
        mean_score([101.0])


@pytest.mark.parametrize("questions", [10, 110, 1000])
def test_smallest_difference_has_the_power_of_the_noncentral_t(questions):
    found = smallest_difference(30.0, questions)
    centre = found * math.sqrt(questions) / 30.0
    limit = scipy.stats.t.ppf(0.975, questions - 1)
    assert 1 - scipy.stats.nct.cdf(limit, questions - 1, centre) == pytest.approx(0.8, abs=0.02)


def test_questions_needed_are_the_fewest_that_show_the_difference():
    needed = questions_needed(25.0, 4.0)
    assert needed is not None
    assert smallest_difference(25.0, needed) <= 4.0 < smallest_difference(25.0, needed - 1)
    assert questions_needed(25.0, 0.0) is None
    assert questions_needed(0.0, 1.0) == 2
    assert smallest_difference(25.0, 1) == math.inf
