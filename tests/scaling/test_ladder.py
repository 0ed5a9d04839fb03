"""The ladder law recovers the law behind a few simulated runs, with calibrated uncertainty."""

import dataclasses
import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.scaling.estimate import NORMAL_QUANTILE
from lmlab.scaling.ladder import NOISE, PRIOR_MEANS, PRIOR_SPREADS, LadderPoint, ladder_law

DESIGN = ((1 / 100, 1 / 4), (1 / 25, 1 / 4), (1 / 100, 1.0), (1 / 25, 1.0))


def true_loss(numbers, size, length):
    entropy, capacity, alpha, share, beta = numbers
    return entropy * (1 + share * (length**-beta - 1)) + capacity * size**-alpha


def climbed(numbers, noise=0.0, generator=None):
    points = []
    for size, length in DESIGN:
        chance = math.exp(noise * generator.standard_normal()) if noise else 1.0
        points.append(LadderPoint(size=size, length=length, loss=true_loss(numbers, size, length) * chance))
    return points


def test_the_law_goes_through_the_trainings_and_extrapolates_one_that_its_priors_expect():
    numbers = (1.6, 0.4, 0.36, 0.3, 0.3)
    law = ladder_law(climbed(numbers))
    for point in law.points:
        assert law.loss(point.size, point.length) == pytest.approx(point.loss, rel=0.01)
    assert law.expected().value == pytest.approx(true_loss(numbers, 1, 1), rel=0.01)
    assert law.expected().evidence == "extrapolated" and "25 times" in law.expected().alarm


def test_four_of_five_intervals_hold_where_laws_are_drawn_from_the_priors():
    generator = np.random.default_rng(3)
    held = trials = 0
    while trials < 200:
        drawn = PRIOR_MEANS + PRIOR_SPREADS * generator.standard_normal(5)
        numbers = (*(2.0 * np.exp(drawn[:2])), drawn[2], 1 / (1 + np.exp(-drawn[3])), drawn[4])
        estimate = ladder_law(climbed(numbers, NOISE, generator)).expected()
        trials += 1
        held += estimate.holds(true_loss(numbers, 1, 1))
    assert 0.65 < held / trials < 0.95
    assert pytest.approx(1.2816, abs=1e-3) == NORMAL_QUANTILE


def test_what_shorter_trainings_do_says_nothing_of_the_size():
    numbers = (1.6, 0.4, 0.36, 0.3, 0.3)
    points = climbed(numbers)
    strange = [
        dataclasses.replace(point, loss=point.loss * (1.1 if point.length < 1 and point.size < 0.02 else 1.0))
        for point in points
    ]
    assert ladder_law(strange).expected().value == pytest.approx(true_loss(numbers, 1, 1), rel=0.01)


def test_a_ladder_of_shorter_trainings_alone_is_drawn_on_to_the_whole_length():
    numbers = (1.6, 0.4, 0.36, 0.3, 0.3)
    points = [
        LadderPoint(size=size, length=length / 2, loss=true_loss(numbers, size, length / 2)) for size, length in DESIGN
    ]
    found = ladder_law(points).expected()
    assert found.value == pytest.approx(true_loss(numbers, 1, 1), rel=0.03) and "2.0 times the steps" in found.alarm


def test_more_tokens_never_save_a_model_that_is_too_small():
    law = ladder_law(climbed((1.6, 0.4, 0.36, 0.3, 0.3)))
    # What a small model can't hold stays, however long it's trained: the best size of a budget lies inside the picture.
    assert law.loss(1e-3, 1e6) > law.loss(1.0, 1.0) and law.loss(1e-3, 1e6) > law.loss(1.0, 1e3)


def test_longer_trainings_and_larger_models_are_better():
    law = ladder_law(climbed((1.6, 0.4, 0.36, 0.3, 0.3)))
    assert law.loss(1.0, 2.0) < law.loss(1.0, 1.0) < law.loss(1.0, 0.5)
    assert law.loss(2.0, 1.0) < law.loss(1.0, 1.0)


def test_a_training_of_few_steps_has_a_wider_interval_and_says_why():
    points = climbed((1.6, 0.4, 0.36, 0.3, 0.3))
    many, few = (ladder_law(points, steps).expected() for steps in (200, 199))
    assert many == ladder_law(points).expected() and few.value == many.value
    assert few.low < many.low and few.high > many.high
    assert "199 steps are few to extrapolate from" in few.alarm


def test_too_few_trainings_and_ones_that_came_to_nothing_are_refused():
    points = climbed((1.6, 0.4, 0.36, 0.3, 0.3))
    with pytest.raises(LabError, match="2 runs are too few"):
        ladder_law(points[:2])
    with pytest.raises(LabError, match="no finite loss"):
        ladder_law([*points[:3], LadderPoint(size=1.0, length=1.0, loss=math.nan)])
