"""Verdicts on loss curves, held against published runs and made-up ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmlab.stats import nats_per_doubling, noise_level, overfitting_verdict, still_falling, turning_point

STORIES_STEPS = [0, 250, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 4999]
STORIES_TRAIN = [4.9244, 2.1218, 1.3606, 1.0332, 0.9305, 0.8673, 0.8162, 0.7888, 0.7634, 0.7480, 0.7371, 0.7259]
STORIES_VALID = [4.9262, 2.1169, 1.3500, 1.0296, 0.9189, 0.8602, 0.8141, 0.7803, 0.7551, 0.7434, 0.7314, 0.7176]


def overfitted(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Like nanoGPT's character Shakespeare on a GPU: training to .62, validation best near 1.47 and 1.70 at the end."""
    train = 0.5 + 3.7 * np.exp(-steps / 600.0) + 0.12
    valid = 1.35 + 2.8 * np.exp(-steps / 350.0) + 0.35 * (steps / 5000.0) ** 1.3
    return train, valid


def test_the_published_stories_run_has_not_overfitted_and_is_still_falling():
    verdict = overfitting_verdict(STORIES_TRAIN, STORIES_VALID, STORIES_STEPS)
    assert verdict.kind == "none"
    assert verdict.gap == pytest.approx(-0.0083, abs=1e-9)
    assert still_falling(STORIES_STEPS, STORIES_VALID)
    turn = turning_point(STORIES_STEPS, STORIES_VALID)
    assert (turn.step, turn.loss, turn.rose) == (4999, 0.7176, False)


def test_a_run_like_character_shakespeare_overfits_after_its_best():
    steps = np.arange(0, 5001, 250)
    train, valid = overfitted(steps)
    generator = np.random.default_rng(0)
    valid = valid + generator.normal(0, 0.004, size=len(valid))
    verdict = overfitting_verdict(train.tolist(), valid.tolist(), steps.tolist())
    assert verdict.kind == "overfitting"
    assert "best at step" in verdict.reason
    turn = turning_point(steps.tolist(), valid.tolist())
    assert turn.rose and 1000 <= turn.step <= 2500
    assert turn.loss == valid.min() and valid[turn.index] == valid.min()
    assert not still_falling(steps.tolist(), valid.tolist())


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


def test_both_losses_rising_is_called_unstable():
    steps = list(range(10))
    curve = [3.0, 2.0, 1.5, 1.2, 1.0, 1.4, 2.0, 2.6, 3.0, 3.3]
    assert overfitting_verdict(curve, [loss + 0.05 for loss in curve], steps).kind == "unstable"


def test_a_grown_gap_without_a_turn_is_slight():
    steps = list(range(8))
    train = [4.0, 3.0, 2.5, 2.2, 2.0, 1.9, 1.8, 1.7]
    valid = [4.0, 3.1, 2.7, 2.5, 2.4, 2.35, 2.32, 2.30]
    verdict = overfitting_verdict(train, valid, steps)
    assert verdict.kind == "slight" and verdict.gap == pytest.approx(0.6)


def test_too_few_or_broken_evaluations_give_no_verdict():
    assert overfitting_verdict([1.0], [1.0]).kind == "unknown"
    assert overfitting_verdict([1.0, math.nan], [1.0, 1.0]).kind == "unknown"
    with pytest.raises(ValueError, match="at least one finite loss"):
        turning_point([1], [math.nan])


def test_losses_that_are_not_finite_are_passed_over():
    turn = turning_point([10, 20, 30, 40, 50], [3.0, math.nan, 1.0, 2.0, 2.0])
    assert (turn.index, turn.step, turn.loss, turn.rose) == (2, 30, 1.0, True)


def test_noise_level_finds_the_noise_on_a_smooth_curve():
    steps = np.arange(1, 400)
    losses = 1.0 + 3.0 / steps**0.5 + np.random.default_rng(2).normal(0, 0.03, size=len(steps))
    assert noise_level(losses.tolist()) == pytest.approx(0.03, rel=0.3)
    assert noise_level([3.0, 2.0]) == 0.0


def test_nats_per_doubling_is_the_slope_of_a_logarithmic_curve():
    steps = [100, 200, 400, 600, 700, 800]
    slope, error = nats_per_doubling(steps, [3.0 - 0.25 * math.log2(step) for step in steps])
    assert slope == pytest.approx(-0.25, rel=1e-9) and error < 1e-9
    assert math.isnan(nats_per_doubling([0, 1], [2.0, 1.0])[0])


def test_a_settled_curve_is_not_falling():
    steps = list(range(100, 2100, 100))
    assert not still_falling(steps, [1.5 + 2.0 * math.exp(-step / 100) for step in steps])
    assert not still_falling([1, 2], [2.0, 1.0])
