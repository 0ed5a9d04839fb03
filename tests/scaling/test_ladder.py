"""A law that is drawn through few trainings finds the one that they came from, and says how unsure it is."""

import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.scaling.estimate import NORMAL_QUANTILE
from lmlab.scaling.ladder import PRIOR_MEANS, PRIOR_SPREADS, Point, ladder_law

TARGET = (800_000, 4_000_000)
DESIGN = ((1 / 16, 1 / 4), (1.0, 1 / 64), (1 / 4, 1 / 16), (1.0, 1 / 24))


def true_loss(numbers, size, length):
    entropy, capacity, data, alpha, beta, gamma = numbers
    return entropy + capacity * size**-alpha + data * size**-gamma * length**-beta


def climbed(numbers, noise=0.0, generator=None):
    points = []
    for size, length in DESIGN:
        chance = math.exp(noise * generator.standard_normal()) if noise else 1.0
        points.append(
            Point(
                parameters=size * TARGET[0], tokens=length * TARGET[1], loss=true_loss(numbers, size, length) * chance
            )
        )
    return points


def test_the_law_goes_through_the_trainings_and_extrapolates_one_that_its_priors_expect():
    numbers = (1.1, 0.35, 0.75, 0.35, 0.3, 0.1)
    law = ladder_law(climbed(numbers), *TARGET)
    for point in law.points:
        assert law.loss(point.parameters, point.tokens) == pytest.approx(point.loss, rel=0.01)
    assert law.expected().value == pytest.approx(true_loss(numbers, 1, 1), rel=0.06)
    assert law.expected().evidence == "extrapolated" and "24 times" in law.expected().alarm


def test_four_of_five_intervals_hold_where_laws_are_drawn_from_the_priors():
    generator = np.random.default_rng(3)
    held = trials = 0
    while trials < 200:
        drawn = PRIOR_MEANS + PRIOR_SPREADS * generator.standard_normal(6)
        scale = 2.0
        numbers = (*(scale * np.exp(drawn[:3])), *drawn[3:])
        estimate = ladder_law(climbed(numbers, 0.01, generator), *TARGET).expected()
        trials += 1
        held += estimate.holds(true_loss(numbers, 1, 1))
    assert 0.65 < held / trials < 0.95
    assert pytest.approx(1.2816, abs=1e-3) == NORMAL_QUANTILE


def test_longer_trainings_and_larger_models_are_better():
    law = ladder_law(climbed((1.1, 0.35, 0.75, 0.35, 0.3, 0.1)), *TARGET)
    size, length = TARGET
    assert law.loss(size, 2 * length) < law.loss(size, length) < law.loss(size, length / 2)
    assert law.loss(2 * size, length) < law.loss(size, length)


def test_too_few_trainings_and_ones_that_came_to_nothing_are_refused():
    points = climbed((1.1, 0.35, 0.75, 0.35, 0.3, 0.1))
    with pytest.raises(LabError, match="2 trainings are too few"):
        ladder_law(points[:2], *TARGET)
    with pytest.raises(LabError, match="no finite loss"):
        ladder_law([*points[:3], Point(parameters=1, tokens=1, loss=math.nan)], *TARGET)
