"""A training of low-rank adapters: its optimizer, its micro-batches, its memory by formula."""

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.planning.memory.check import needed_bytes
from lmlab.recipe import Muon, Recipe, check, override
from lmlab.training.memory import checkpoint_bytes, step_bytes
from lmlab.training.observing import observe
from lmlab.training.policy import choose_policy
from lmlab.training.setup import Training, set_up

SETTINGS = {
    "model.layers": "2",
    "model.heads": "2",
    "model.width": "32",
    "model.context": "16",
    "train.batch": "4",
    "train.lora_rank": "4",
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.threads": "1",
    "schedule.kind": "constant",
    "schedule.warmup": "0",
    "optim.clip": "0",
}
VOCABULARY = 65
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, 2000).astype(np.uint16)


def recipe_of(**changes: object) -> Recipe:
    return override(Recipe(), {**SETTINGS, **{name.replace("__", "."): str(value) for name, value in changes.items()}})


def training_of(recipe: Recipe) -> Training:
    return set_up(recipe, choose_policy(recipe, lambda line: None), TOKENS, VOCABULARY, 100)


def test_steps_are_those_of_adamw_over_the_factors_of_an_explicit_sum():
    recipe = recipe_of(optim__lr="0.002", optim__weight_decay="0.1", train__lora_lr="5")
    training, slow = training_of(recipe), training_of(recipe).model
    before = {name: weights.clone() for name, weights in slow.state_dict().items()}
    state = training.optimizer.state_tensors()
    factors = {
        name.removeprefix("lora/"): entry.clone().requires_grad_()
        for name, entry in state.items()
        if name.startswith("lora/")
    }
    names = {name.rpartition(".")[0] for name in factors}
    theirs = torch.optim.AdamW(
        list(factors.values()), lr=0.01, weight_decay=0.02, betas=recipe.optim.betas, eps=recipe.optim.eps
    )
    for step in range(5):
        inputs, targets = (torch.from_numpy(rows) for rows in training.step.batch(4 * step))
        changed = {
            f"{name}.weight": before[f"{name}.weight"] + 8.0 * factors[f"{name}.lora_b"] @ factors[f"{name}.lora_a"]
            for name in names
        }
        logits = torch.func.functional_call(slow.eval(), changed, (inputs,))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        assert training.take().loss == pytest.approx(loss.item(), rel=1e-5)
    merged = training.model.state_dict()
    for name, weights in before.items():
        if name.removesuffix(".weight") in names:
            layer = name.removesuffix(".weight")
            expected = weights + 8.0 * (factors[f"{layer}.lora_b"] @ factors[f"{layer}.lora_a"]).detach()
            torch.testing.assert_close(merged[name], expected, atol=1e-5, rtol=1e-4)
            assert not torch.equal(merged[name], weights)
        else:
            assert torch.equal(merged[name], weights), f"{name} is frozen"
    assert training.optimizer.rates() == {"lr": 0.01}


def test_losses_do_not_depend_on_the_micro_batch():
    found = []
    for size in (4, 2, 1):
        training = training_of(recipe_of(train__micro_batch=size))
        found.append([training.take().loss for _ in range(4)])
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)


def test_a_black_box_observes_all_weights_and_leaves_the_adapters_gradients_alone():
    adapted, whole = training_of(recipe_of()), training_of(recipe_of(train__lora_rank=0, train__engine="torch"))
    batch = adapted.step.batch(0)
    found = [observe(one.model, one.step.policy, *batch) for one in (adapted, whole)]
    assert found[0] == found[1] and all(found[0].gradient_norms.values())
    adapters = adapted.optimizer.adapters
    assert adapters is not None and all(factor.grad is None for factor in adapters.parameters().values())


def test_rates_are_those_of_the_matrix_where_they_are_transferred():
    training = training_of(recipe_of(optim__transfer_from="16,2", optim__lr="0.001", train__lora_lr="10"))
    groups = training.optimizer.param_groups
    assert {group["peak"] for group in groups} == {0.01 / 2}, "twice as wide as the tuned model"
    assert training.optimizer.rates() == {"lr": 0.01}


@pytest.mark.parametrize("layers", ["all", "attention"])
def test_checkpoints_have_the_bytes_of_the_formula(layers):
    recipe = recipe_of(train__lora_layers=layers)
    training = training_of(recipe)
    steps = sum(4 for name in training.optimizer.state_tensors() if name.startswith("step/"))
    assert training.nbytes - steps == checkpoint_bytes(recipe, VOCABULARY)
    whole = recipe_of(train__lora_rank=0)
    assert needed_bytes(recipe, VOCABULARY) < needed_bytes(whole, VOCABULARY)
    assert step_bytes(recipe, VOCABULARY, 4, 4, "cpu") < step_bytes(whole, VOCABULARY, 4, 4, "cpu")


def test_pytorch_trains_them_and_the_native_engine_is_refused_where_it_is_requested():
    policy = choose_policy(recipe_of(), lambda line: None)
    assert policy.engine == "torch" and "not low-rank adapters" in policy.reasons["engine"]
    with pytest.raises(LabError, match="trains all weights, not low-rank adapters; or use --train.engine torch"):
        choose_policy(recipe_of(train__engine="native"))


def test_other_optimizers_and_several_processes_are_refused_in_one_line(monkeypatch):
    with pytest.raises(LabError, match="by AdamW, not by muon"):
        check(Recipe(optim=Muon(), train=recipe_of().train))
    monkeypatch.setattr("lmlab.training.policy.ranks", lambda: 2)
    with pytest.raises(LabError, match="trains in one process"):
        choose_policy(recipe_of())
