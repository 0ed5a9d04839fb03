"""Slopes of scores against length and style, within questions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.stats.slopes import slopes


def judged(seed: int, questions: int = 60, of_length: float = 0.1, of_lists: float = 5.0):
    """Scores of four models, of which those of hard questions are low and their answers long."""
    generator = np.random.default_rng(seed)
    question, model = np.repeat(np.arange(questions), 4), np.tile(np.arange(4), questions)
    hard = generator.normal(size=questions)[question]
    length = 100 + 40 * hard + 10 * model + 20 * generator.normal(size=4 * questions)
    lists = generator.integers(0, 2, 4 * questions).astype(float)
    noise = 8 * generator.normal(size=4 * questions) * (1 + 0.5 * np.abs(hard))
    scores = 50 - 25 * hard + 4 * model + of_length * length + of_lists * lists + noise
    return scores, {"length": length, "lists": lists}, question, model


def test_slopes_equal_least_squares_with_a_column_for_each_question_and_model():
    scores, covariates, question, model = judged(0)
    found = slopes(scores, covariates, question, model)
    columns = [*covariates.values(), *(question == q for q in range(60)), *(model == m for m in range(1, 4))]
    slow = np.linalg.lstsq(np.stack(columns, axis=1).astype(float), scores, rcond=None)[0]
    assert found.of["length"].slope == pytest.approx(slow[0])
    assert found.of["lists"].slope == pytest.approx(slow[1])


@pytest.mark.parametrize("questions", [12, 60])
def test_intervals_cover_planted_slopes_and_plain_regression_does_not(questions):
    covered = {"length": 0, "lists": 0}
    for seed in range(150):
        scores, covariates, question, model = judged(seed, questions)
        found = slopes(scores, covariates, question, model)
        covered["length"] += found.of["length"].low <= 0.1 <= found.of["length"].high
        covered["lists"] += found.of["lists"].low <= 5.0 <= found.of["lists"].high
    assert all(0.89 <= count / 150 <= 0.99 for count in covered.values())
    scores, covariates, question, _ = judged(0)
    assert np.polyfit(covariates["length"], scores, 1)[0] < 0


def test_adjusted_scores_have_no_slope_left_and_the_same_mean():
    scores, covariates, question, model = judged(1)
    found = slopes(scores, covariates, question, model)
    again = slopes(found.adjusted, covariates, question, model)
    assert again.of["length"].slope == pytest.approx(0.0, abs=1e-9)
    assert found.adjusted.mean() == pytest.approx(scores.mean())
    assert 0.0 < found.explained < 1.0


def test_better_models_with_longer_answers_count_only_without_models():
    scores, covariates, question, model = judged(2, of_length=0.0)
    assert slopes(scores, covariates, question).of["length"].slope > 0.05
    within = slopes(scores, covariates, question, model).of["length"]
    assert within.low < 0.0 < within.high


def test_constant_and_repeated_covariates_have_no_slope_and_missing_answers_are_left_out():
    scores, covariates, question, _ = judged(3, 20)
    scores[:4] = math.nan
    scores[5:8] = math.nan  # the second question has one answer left
    found = slopes(
        scores,
        {**covariates, "twice": 2 * covariates["length"], "same": np.ones(80), "of question": question},
        question,
    )
    assert math.isnan(found.of["twice"].slope)
    assert math.isnan(found.of["same"].slope)
    assert math.isnan(found.of["of question"].slope)
    assert (found.questions, found.answers) == (18, 72)
    assert np.isnan(found.adjusted[:4]).all()
    assert not np.isnan(found.adjusted[8:]).any()


def test_no_answers_give_no_slope():
    found = slopes([math.nan], {"length": [1.0]}, ["a"])
    assert math.isnan(found.of["length"].slope)
    with pytest.raises(LabError, match="expected one length"):
        slopes([1.0, 2.0], {"length": [1.0]}, ["a", "a"])
