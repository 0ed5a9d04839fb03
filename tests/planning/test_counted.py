"""A training whose steps are too long to be tried is planned by arithmetic, with wide intervals."""

import pytest

from lmlab.model.cost import activation_bytes, flops_per_token, parameters
from lmlab.model.gpt_shapes import loss_chunk
from lmlab.planning.forecasts.duration import duration_of
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.from_arithmetic import counted_trial
from lmlab.planning.trials.from_layers import expected_step_seconds, measured_or_extended
from lmlab.recipe import load_recipe, override
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.policy import choose_policy


def test_layers_that_would_be_faster_than_products_are_here_are_counted():
    recipe = override(load_recipe("shakespeare-gpu"), {"train.device": "cpu", "train.engine": "torch"})
    policy = choose_policy(recipe)
    expected = expected_step_seconds(recipe, 65, recipe.train.batch, 1e12)

    def run(smaller, policy, folder, **options):
        # Of two layers no more than of one: disturbed.
        return Measurement(
            micro_batch=1, batch=1, step_seconds=(expected / 8,) * 3, peak_memory_bytes=10**9, checkpoint_bytes=7
        )

    found, evidence = measured_or_extended(recipe, policy, "data", 65, peak=1e12, run=run)
    assert found.counted and found.step_seconds == (expected,) and evidence == "extrapolated"
    assert found.evidence == "formula" and found.peak_memory_bytes == 10**9
    # A forward pass by the same arithmetic: a third of a step's.
    tokens = recipe.train.batch * recipe.model.context
    assert found.forward_tokens_per_second == pytest.approx(3 * tokens / expected)


def test_no_step_is_tried_that_takes_longer_than_there_is_time():
    recipe = override(load_recipe("shakespeare-124m"), {"train.device": "cpu", "train.engine": "torch"})
    found, _ = measured_or_extended(recipe, choose_policy(recipe), "data", 50_257, peak=2e9, run=None)
    assert found.was_too_long and "took longer than 120 s for 3 steps of" in found.failed


def test_a_training_that_is_too_long_to_try_is_counted():
    recipe = override(load_recipe("shakespeare-124m"), {"train.device": "cpu", "train.engine": "torch"})
    policy = choose_policy(recipe)
    found = counted_trial(recipe, policy, 50_257, 100e9)
    flops = flops_per_token(recipe.model, 50_257).training * recipe.train.batch * recipe.model.context
    assert found.step_seconds == (pytest.approx(flops / 40e9),)
    # Weights, gradients and AdamW's two means, once more weights and means while they are saved, what a pass keeps, and three
    # times the logits of a chunk.
    weights = 4 * parameters(recipe.model, 50_257)["total"]
    kept = activation_bytes(recipe.model, 50_257, policy.micro_batch, 4)
    kept += 3 * 4 * 50_257 * loss_chunk(policy.micro_batch * recipe.model.context, 50_257, "cpu")
    assert found.peak_memory_bytes == found.idle_memory_bytes + 7 * weights + kept
    plan = EvaluationPlan(wanted=(0, 0), valid_tokens=0, train_tokens=0, split_tokens=0)
    time = duration_of(recipe, found, 100, plan, {}, recipe.train.batch * recipe.model.context).total_seconds
    # 20 to 60 % of the peak is what was seen of trainings.
    assert time.evidence == "formula" and "no step was timed" in time.rests_on
    assert time.low < 100 * flops / 60e9 and time.high > 100 * flops / 22e9
