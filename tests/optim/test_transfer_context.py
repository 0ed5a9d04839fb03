"""Rates of context-propagation models on larger ones: what passes through the layers at the start, and how far steps move it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lmlab import LabError
from lmlab.model.build import build_model
from lmlab.model.context import ContextModel
from lmlab.model.initial import initialise
from lmlab.optim.build import build_optimizer
from lmlab.optim.groups import parameter_groups
from lmlab.recipe import AdamW, Muon, Recipe, check, override
from lmlab.recipe.model import Context
from lmlab.recipe.optim import Optim
from lmlab.scaling.transfer_context import context_transfer

VOCABULARY, CONTEXT, STEPS = 48, 8, 3
ADAMW, MUON = AdamW(lr=2e-3, clip=0.0), Muon(lr=0.02, adam_lr=2e-3)


def model_of(hidden: int, layers: int, vector: int, optim: Optim, init: str = "normal", **more: bool) -> ContextModel:
    shape = {"layers": layers, "width": 32, "hidden": hidden, "vector": vector, "context": CONTEXT, "dropout": 0.0}
    model = build_model(Context(**shape, init=init, **more), VOCABULARY)  # type: ignore[arg-type]
    assert isinstance(model, ContextModel)
    initialise(model, 1, optim.transfer_from)
    return model


def from_size(optim: Optim, *size: int) -> Optim:
    return dataclasses.replace(optim, transfer_from=size)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Text that can be learned: every token says the next one."""
    tokens = torch.randint(VOCABULARY, (8, 1), generator=torch.Generator().manual_seed(step))
    tokens = (tokens + 7 * torch.arange(CONTEXT + 1)) % VOCABULARY
    return tokens[:, :-1], tokens[:, 1:]


@torch.no_grad()
def looked_at(model: ContextModel) -> dict[str, torch.Tensor]:
    """How the last layer's output and the logits differ between tokens: what of the input passes through the layers."""
    inputs, _ = batch(99)
    outputs = model.layer_outputs(inputs)
    top = outputs.get("normed stream", outputs[f"block {model.config.layers}"]).flatten(0, 1)
    return {"top": top - top.mean(0), "logits": model(inputs)}


def moved(model: ContextModel, optim: Optim) -> dict[str, float]:
    """After a few steps: how far the last layer's output and the logits are from where they were, as root mean squares."""
    before = looked_at(model)
    optimizer = build_optimizer(model, optim, "cpu")
    for step in range(STEPS):
        inputs, targets = batch(step)
        model.zero_grad()
        (model.loss_sum(inputs, targets) / targets.numel()).backward()
        optimizer.step()
    after = looked_at(model)
    return {name: rms(after[name] - before[name]) for name in before}


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


@pytest.mark.parametrize("init", ["normal", "torch"])
def test_as_much_of_a_token_comes_through_twelve_layers_as_through_six_with_the_rule_and_nearly_nothing_without(init):
    small = rms(looked_at(model_of(256, 6, 64, ADAMW, init))["top"])
    deep = rms(looked_at(model_of(256, 12, 64, ADAMW, init))["top"])
    with_rule = rms(looked_at(model_of(256, 12, 64, from_size(ADAMW, 256, 6), init))["top"])
    assert deep < 0.02 * small
    assert 0.4 < with_rule / small < 2.5


@pytest.mark.parametrize("optim", [ADAMW, MUON])
def test_the_first_steps_move_a_wide_model_as_far_as_a_narrow_one_with_the_rule_and_farther_without(optim: Optim):
    small = moved(model_of(64, 2, 32, optim, "torch"), optim)
    scaled = from_size(optim, 64, 2, 32)
    wide, without = (
        moved(model_of(512, 2, 256, scaled, "torch"), scaled),
        moved(model_of(512, 2, 256, optim, "torch"), optim),
    )
    assert all(0.4 < wide[name] / small[name] < 2.5 for name in small), (wide, small)
    assert without["logits"] / small["logits"] > 3, (without, small)


def test_the_first_steps_move_a_deep_model_as_far_as_a_shallow_one_with_the_rule():
    small = moved(model_of(256, 4, 64, ADAMW, "torch"), ADAMW)
    scaled = from_size(ADAMW, 256, 4)
    deep = moved(model_of(256, 12, 64, scaled, "torch"), scaled)
    assert all(0.3 < deep[name] / small[name] < 3 for name in small), (deep, small)


def test_with_residuals_depth_has_the_rule_for_streams():
    optim = AdamW(lr=5e-3, clip=0.0)
    small = moved(model_of(64, 3, 32, optim, "torch", residual=True), optim)
    scaled = from_size(optim, 64, 3)
    deep = moved(model_of(64, 17, 32, scaled, "torch", residual=True), scaled)
    assert all(0.5 < deep[name] / small[name] < 2 for name in small), (deep, small)
    factors = context_transfer(Context(layers=17, hidden=64, residual=True), (64, 3)).factors("blocks.9.weight")
    assert (factors.initial, factors.rate) == (1 / 8, 1 / 8)


def test_each_parameter_has_the_rate_of_the_table():
    model = model_of(128, 7, 96, ADAMW)
    groups = parameter_groups(model, from_size(ADAMW, 32, 3, 32))
    factors = {name: group.factor for group in groups for name in group.parameters}
    assert factors["embedding.weight"] == factors["norm.weight"] == factors["head.bias"] == factors["gates.bias"] == 1
    assert factors["blocks.0.weight"] == 1 / 2  # (32 + 96) inputs for (32 + 32)
    assert factors["blocks.3.weight"] == 1 / (4 * 3) and factors["blocks.3.bias"] == 1 / 3
    assert factors["gates.weight"] == factors["head.weight"] == 1 / 4
    muon = parameter_groups(model, from_size(MUON, 32, 3, 32))
    rates = {name: group.factor for group in muon if group.rule == "muon" for name in group.parameters}
    assert rates["blocks.0.weight"] == rates["gates.weight"] == 1 and rates["blocks.3.weight"] == 1 / 3


def test_a_model_is_its_own_base():
    rule = context_transfer(Context(), (512, 6, 256))
    for name in ("embedding.weight", "blocks.0.weight", "blocks.5.weight", "gates.weight", "head.weight", "norm.bias"):
        factors = rule.factors(name)
        assert (factors.initial, factors.rate, factors.decay, factors.epsilon) == (1, 1, 1, 1), name


def test_four_numbers_are_too_many():
    recipe = override(Recipe(), {"model.kind": "context"})
    assert check(override(recipe, {"optim.transfer_from": "512,6,256"})).optim.transfer_from == (512, 6, 256)
    with pytest.raises(LabError, match="expected at most the hidden width, layers and vector"):
        check(override(recipe, {"optim.transfer_from": "512,6,256,4"}))
