"""What counts as a spike, and how far adaptive clipping goes."""

import math
import random
import statistics

import pytest

from lmlab.recipe import Recipe, override
from lmlab.training.guard import FIRST_JUDGED, FURTHEST, MEMORY, GuardState, Running, judge, remember

USUAL = override(Recipe(), {})


def fed(recipe, values):
    """A guard that has seen steps with these losses, each with a gradient norm of a tenth."""
    state = GuardState()
    for step, loss in enumerate(values):
        remember(state, step, judge(state, recipe, 0, loss, loss / 10))
    return state


def usual_losses(count=200, seed=1):
    chance = random.Random(seed)
    return [chance.gauss(3.0, 0.1) for _ in range(count)]


def test_the_first_values_have_a_plain_mean_and_variance():
    running = Running()
    values = usual_losses(FIRST_JUDGED)
    for value in values:
        running.add(value)
    assert running.mean == pytest.approx(statistics.fmean(values))
    assert running.variance == pytest.approx(statistics.pvariance(values))


def test_later_values_are_weighted_as_the_formula_says():
    running, values = Running(), usual_losses(300)
    for value in values:
        running.add(value)
    # The plain mean goes over into the exponential one where a new value's share of it falls to 1 - MEMORY.
    mean = variance = 0.0
    for count, value in enumerate(values):
        weight = max(1 / (count + 1), 1 - MEMORY)
        if count >= FIRST_JUDGED:
            value = min(value, mean + FURTHEST * variance**0.5)
        mean, before = (1 - weight) * mean + weight * value, mean
        variance = (1 - weight) * variance + weight * (1 - weight) * (value - before) ** 2
    assert running.mean == pytest.approx(mean) and running.variance == pytest.approx(variance)


@pytest.mark.parametrize(("loss", "norm"), [(30.0, 0.3), (3.0, 30.0)])
def test_a_loss_or_a_norm_far_out_is_a_spike(loss, norm):
    state = fed(USUAL, usual_losses())
    assert judge(state, USUAL, 0, loss, norm).kind == "spike"
    assert judge(state, override(USUAL, {"train.spike": "0"}), 0, loss, norm).kind == "fine"


def test_usual_noise_and_a_falling_loss_are_none():
    for seed in range(20):
        state = GuardState()
        for step, noise in enumerate(usual_losses(400, seed)):
            verdict = judge(state, USUAL, 0, noise + 7 * 0.98**step, noise)
            assert verdict.kind == "fine"
            remember(state, step, verdict)


def test_nothing_is_said_before_there_are_enough_values():
    state = fed(USUAL, usual_losses(FIRST_JUDGED - 1))
    assert judge(state, USUAL, 0, 1e6, 1e6).kind == "fine"
    assert judge(GuardState(), USUAL, 0, math.nan, 1.0).kind == "not finite"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_leaves_no_trace_in_the_statistics(bad):
    state = fed(USUAL, usual_losses())
    before = (state.loss, state.norm)
    for loss, norm in ((bad, 1.0), (1.0, bad)):
        verdict = judge(state, USUAL, 0, loss, norm)
        assert verdict.kind == "not finite"
        remember(state, 500, verdict)
    assert (state.loss, state.norm) == before
    assert state.recent[-1] == [500, 1.0, None]


def test_a_spike_does_not_hide_the_next_one():
    state = fed(USUAL, usual_losses())
    for step in range(3):
        verdict = judge(state, USUAL, 0, 5.0, 0.3)
        assert verdict.kind == "spike"
        remember(state, step, verdict)


def test_adaptive_clipping_is_that_of_the_paper():
    recipe = override(USUAL, {"optim.adaptive_clip": "2.5", "optim.clip": "0"})
    state = fed(recipe, usual_losses())
    mean, deviation = state.norm.mean, state.norm.deviation()
    norm = mean + 10 * deviation
    assert judge(state, recipe, 0, 3.0, norm).limit == pytest.approx(mean + 2.5**2 / 10 * deviation)
    assert judge(state, recipe, 0, 3.0, mean + 2 * deviation).limit == 0.0
    both = override(recipe, {"optim.clip": "0.01"})
    assert judge(state, both, 0, 3.0, norm).limit == 0.01


def test_the_limit_is_that_of_the_step():
    recipe = override(USUAL, {"optim.clip": "0.5", "optim.clip_steps": "3,6", "optim.clip_then": "1,0"})
    assert [judge(GuardState(), recipe, step, 3.0, 1.0).limit for step in (0, 2, 3, 5, 6, 99)] == [0.5, 0.5, 1, 1, 0, 0]
