"""Confidence sequences: intervals that hold at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.stats.sequential import confidence_sequence

DRAWS = {
    "wins": lambda generator: generator.integers(0, 2, 300).astype(float),
    "rare wins": lambda generator: (generator.random(300) < 0.05).astype(float),
    "differences": lambda generator: np.clip(0.5 + 0.15 * generator.normal(size=300), 0, 1),
}
MEANS = {"wins": 0.5, "rare wins": 0.05, "differences": 0.5}


@pytest.mark.parametrize("kind", DRAWS)
def test_at_most_5_percent_of_sequences_ever_exclude_the_mean(kind):
    generator = np.random.default_rng(2)
    false = sum(
        confidence_sequence(DRAWS[kind](generator)).first_excluding(MEANS[kind]) is not None for _ in range(200)
    )
    assert false / 200 <= 0.05


def test_intervals_looked_at_after_each_value_would_err_far_more():
    generator = np.random.default_rng(2)
    false = 0
    for _ in range(200):
        values = DRAWS["wins"](generator)
        number = np.arange(1, 301)
        means = np.cumsum(values) / number
        half = 1.96 * np.sqrt(means * (1 - means) / number)
        false += bool((np.abs(means - 0.5) > half)[20:].any())
    assert false / 200 > 0.2


def test_limits_equal_those_of_every_candidate_s_capital_written_out():
    values = np.random.default_rng(3).random(25)
    found = confidence_sequence(values, level=0.9)
    for candidate in (0.1, 0.25, 0.4, 0.5, 0.63, 0.8):
        above = below = 1.0
        variance, excluded = 0.25, None
        for number, value in enumerate(values, start=1):
            bet = math.sqrt(2 * math.log(2 / 0.1) / (variance * number * math.log(number + 1)))
            above *= 1 + min(bet, 0.5 / candidate) * (value - candidate)
            below *= 1 - min(bet, 0.5 / (1 - candidate)) * (value - candidate)
            if excluded is None and max(above, below) / 2 >= 1 / 0.1:
                excluded = number
            means = [(0.5 + values[: i + 1].sum()) / (i + 2) for i in range(number)]
            variance = (0.25 + sum((values[i] - means[i]) ** 2 for i in range(number))) / (number + 1)
        # limits are rounded outwards by one part of the grid
        if excluded is None:
            assert found.low[-1] <= candidate <= found.high[-1]
        else:
            assert not found.low[excluded - 1] + 0.001 <= candidate <= found.high[excluded - 1] - 0.001


def test_limits_only_narrow_and_scale_with_the_values():
    values = np.random.default_rng(4).random(100)
    unit, points = confidence_sequence(values), confidence_sequence(200 * values - 100, (-100, 100))
    assert (np.diff(unit.low) >= 0).all()
    assert (np.diff(unit.high) <= 0).all()
    assert points.low == pytest.approx(200 * unit.low - 100)
    assert points.high == pytest.approx(200 * unit.high - 100)


def test_clear_difference_is_found_before_all_questions_are_asked():
    values = np.clip(np.random.default_rng(5).normal(15, 20, 110), -100, 100)
    stopped = confidence_sequence(values, (-100, 100)).first_excluding(0.0)
    assert stopped is not None
    assert stopped < 80


def test_missing_value_is_refused():
    with pytest.raises(LabError, match="a value is nan"):
        confidence_sequence([0.5, math.nan])
