"""A plan's figures from their inputs."""

import pytest

from lmlab.planning.forecasts.validation import validation_of
from lmlab.planning.memory.parts import memory_parts
from lmlab.planning.position import position_of
from lmlab.recipe import load_recipe
from lmlab.scaling.arithmetic import sampling_error
from lmlab.training.policy import choose_policy


def test_a_position_is_held_against_published_counts():
    recipe = load_recipe("shakespeare-cpu")
    found = position_of(recipe, 65, 2000, 1_003_854)
    assert found.tokens == 2000 * 12 * 64 and found.parameters["total"] == 804_096
    assert found.epochs == pytest.approx(1.5301, abs=1e-4)
    assert found.six_nd_flops == 6 * 804_096 * 1_536_000
    assert found.share_of_optimal == pytest.approx(1_536_000 / 804_096 / 20)
    # arXiv 2305.16264, equation 5, by hand: U + U R* (1 - e^(-R/R*)) with R = .5301.
    assert found.effective_tokens == pytest.approx(
        1_003_854 * (1 + 15.39 * (1 - 2.718281828 ** (-0.5301 / 15.39))), rel=1e-4
    )
    assert 0 < found.repetition_cost < 0.01


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_parts_of_memory_add_up_to_what_was_measured(engine):
    recipe = load_recipe("shakespeare-cpu")
    policy = choose_policy(recipe, lambda line: None)
    parts = memory_parts(recipe, policy, 65, 12, 3 * 804_096 * 4, 200_000_000, 400_000_000)
    assert parts.weights == 804_096 * 4 and parts.optimizer == 2 * parts.weights
    named = ("program", "weights", "gradients", "optimizer", "activations", "logits", "workspace")
    assert sum(getattr(parts, name) for name in named) == parts.peak == 400_000_000


def test_validation_that_fits_into_a_share_of_the_time():
    # 88 evaluations of 19,660,800 tokens in 5 minutes each beside 44 hours of training: 17 %, not 5.
    found = validation_of(0.05, 88, 44 * 3600, 19_660_800 / 300, 19_660_800, 19_660_800, 3.94)
    assert found.affordable_tokens == pytest.approx(19_660_800 * 0.05 / (88 * 300 / (44 * 3600)), rel=1e-6)
    assert found.affordable_tokens < found.split_tokens / 3 and found.taken_share == pytest.approx(0.1667, abs=1e-3)
    assert sampling_error(2.0, 40_000) == pytest.approx(sampling_error(2.0, 10_000) / 2)
