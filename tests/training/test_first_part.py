"""What a step of several micro-batches tells of the gradient's noise, by both engines."""

import numpy as np
import pytest
import torch

from lmlab.data.windows import IGNORED_TARGET
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.optim.build import build_optimizer
from lmlab.recipe import Recipe, override
from lmlab.training.computation import first_part, sequences_in
from lmlab.training.policy import choose_policy
from lmlab.training.state import State
from lmlab.training.step import StepGradients, TrainingStep
from tests.engine import engine_library

SMALL = {
    "model.layers": "1",
    "model.width": "16",
    "model.heads": "2",
    "model.context": "8",
    "train.batch": "6",
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.compile": "off",
}
TOKENS = np.random.default_rng(0).integers(0, 13, 500).astype(np.uint16)


def step_of(engine: str, micro_batch: int) -> TrainingStep:
    if engine == "native":
        engine_library()
    recipe = override(Recipe(), {**SMALL, "train.engine": engine, "train.micro_batch": str(micro_batch)})
    policy = choose_policy(recipe, lambda line: None)
    model = build_model(recipe.model, 13)
    initialise(model, 1)
    return TrainingStep(recipe, policy, model, build_optimizer(model, recipe.optim, "cpu"), TOKENS, 10)


def taken(step: TrainingStep) -> StepGradients:
    return step.take(State())


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_the_first_part_has_the_norm_of_its_own_mean_gradient(engine):
    step = step_of(engine, 2)
    inputs, targets = (torch.from_numpy(rows[:2]) for rows in step.batch(0))
    alone = build_model(step.recipe.model, 13)
    alone.load_state_dict(step.model.state_dict())
    (alone.loss_sum(inputs, targets) / targets.numel()).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in alone.parameters()]).norm().item()
    result = taken(step)
    assert result.first is not None and result.first.sequences == 2
    assert result.first.norm == pytest.approx(expected, rel=1e-5)
    # And the step is what it is without having been looked at.
    assert result.norm == pytest.approx(taken(step_of(engine, 6)).norm, rel=1e-5)


def test_a_part_is_so_many_sequences_as_have_targets_and_none_where_it_has_them_all():
    targets = np.full((6, 3), IGNORED_TARGET)
    targets[:3, :2] = 5
    assert sequences_in(targets) == 3
    first = first_part(2.0, targets, 6, slice(0, 2))
    assert first is not None and (first.sequences, first.norm) == (2, 2.0 * 6 / 4)
    assert first_part(2.0, targets, 6, slice(0, 3)) is None, "nothing tells it from the whole"
    assert first_part(2.0, targets, 6, slice(3, 6)) is None


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_a_batch_that_is_computed_in_one_go_has_no_first_part(engine):
    assert taken(step_of(engine, 6)).first is None
