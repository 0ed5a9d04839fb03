"""Turning points of loss curves: significant rises, and scatter without one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lmlab.stats import noise_level, turning_point
from lmlab.stats.turn import chance_of_order, rising_fit, scatter_around_a_turn


def test_noise_on_a_flat_curve_is_rarely_called_a_turn():
    wrong = 0
    for seed in range(200):
        losses = 1.5 + np.random.default_rng(seed).normal(0, 0.02, size=30)
        wrong += turning_point(list(range(30)), losses.tolist()).rose
    assert wrong <= 10


def test_a_rise_smaller_than_the_noise_is_not_a_turn_and_a_larger_one_is():
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.01, size=20)
    fall_and_rise = 1.0 + 0.001 * np.abs(np.arange(20) - 12)
    assert not turning_point(list(range(20)), (fall_and_rise + noise).tolist()).rose
    assert turning_point(list(range(20)), (1.0 + 0.03 * np.abs(np.arange(20) - 12) + noise).tolist()).rose


def test_one_evaluation_after_the_best_is_not_enough_for_a_turn():
    assert not turning_point([1, 2, 3], [2.0, 1.0, 5.0]).rose
    assert turning_point([1, 2, 3, 4], [2.0, 1.0, 5.0, 5.0]).rose


def test_losses_that_are_not_finite_are_passed_over():
    turn = turning_point([10, 20, 30, 40, 50], [3.0, float("nan"), 1.0, 2.0, 2.0])
    assert (turn.index, turn.step, turn.loss, turn.rose) == (2, 30, 1.0, True)
    with pytest.raises(ValueError, match="at least one finite loss"):
        turning_point([1], [float("nan")])


def test_noise_level_finds_the_noise_on_a_smooth_curve():
    steps = np.arange(1, 400)
    losses = 1.0 + 3.0 / steps**0.5 + np.random.default_rng(2).normal(0, 0.03, size=len(steps))
    assert noise_level(losses.tolist()) == pytest.approx(0.03, rel=0.3)
    assert noise_level([3.0, 2.0]) == 0.0


def test_four_rises_in_a_row_are_a_turn_however_irregular_they_are():
    """Five numbers are in rising order in one of 120 cases; the jump of .054 among them is not noise."""
    falling = [2.6, 2.0, 1.7, 1.55, 1.46, 1.41]
    names = [1.393, 1.404, 1.418, 1.472, 1.495]
    turn = turning_point(range(11), falling + names)
    assert turn.rose and turn.step == 6 and turn.loss == 1.393
    assert turn.rise == pytest.approx(np.mean(names[-3:]) - 1.393)
    assert chance_of_order(names[:4]) == pytest.approx(1 / 24)


def test_the_chance_of_an_order_is_the_share_of_all_orders_that_rise_as_much():
    for seen in ([1, 2, 3, 4, 5], [1, 3, 2, 4, 5], [5, 4, 3, 2, 1], [2, 1, 4, 3, 5]):

        def falls(order):
            return sum(one >= other for one, other in itertools.combinations(order, 2))

        orders = list(itertools.permutations(range(5)))
        share = sum(falls(order) <= falls(seen) for order in orders) / len(orders)
        assert chance_of_order(seen) == pytest.approx(share)


@pytest.mark.parametrize("count", [12, 40, 60])
def test_the_chance_of_an_order_is_that_of_orders_drawn_at_random(count):
    values = np.arange(count) + np.random.default_rng(count).normal(0, 2 * count, count)
    generator = np.random.default_rng(0)
    drawn = np.array([generator.permutation(count) for _ in range(4000)])
    falls = [np.triu(row[:, None] >= row[None, :], 1).sum() for row in drawn]
    seen = np.triu(values[:, None] >= values[None, :], 1).sum()
    assert chance_of_order(values.tolist()) == pytest.approx(np.mean(np.array(falls) <= seen), abs=0.025)


def test_false_alarms_of_orders_are_rare_where_evaluations_are_independent():
    for count in (6, 8, 12, 20, 40):
        generator = np.random.default_rng(count)
        wrong = [turning_point(range(count), generator.normal(1.5, 0.01, count).tolist()).rose for _ in range(300)]
        # A training loss that scatters as well lowers it further: what the verdict sees.
        assert np.mean(wrong) < 0.15
        generator = np.random.default_rng(count)
        train = [generator.normal(1.3, 0.01, count).tolist() for _ in range(300)]
        wrong = [
            turning_point(range(count), generator.normal(1.5, 0.01, count).tolist(), losses).rose for losses in train
        ]
        assert np.mean(wrong) < 0.08


def test_the_rising_fit_is_isotonic_regression():
    """By its formula: the largest, over where a stretch begins, of the smallest mean, over where it ends."""
    values = np.random.default_rng(3).normal(0, 1, 30) + np.linspace(0, 2, 30)
    fitted, levels = rising_fit(values)
    slow = [
        max(min(values[first : end + 1].mean() for end in range(place, 30)) for first in range(place + 1))
        for place in range(30)
    ]
    assert np.allclose(fitted, slow) and levels == len(np.unique(np.round(slow, 9)))


def test_scatter_is_found_around_a_curve_that_falls_and_rises():
    steps = np.arange(60)
    curve = 1.0 + 0.002 * np.abs(steps - 30)
    found = [
        scatter_around_a_turn((curve + np.random.default_rng(seed).normal(0, 0.02, 60)).tolist()) for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(0.02, rel=0.15)
    assert scatter_around_a_turn(curve.tolist()) == 0.0


def test_a_curve_of_thousands_of_evaluations_is_judged_at_once():
    steps = np.arange(5000)
    losses = 1.0 + 2.0 * np.exp(-steps / 300) + 1e-4 * np.maximum(0, steps - 2500)
    assert turning_point(steps.tolist(), losses.tolist()).rose
