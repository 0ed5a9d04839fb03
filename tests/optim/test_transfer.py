"""Rates that were tuned on a small model, on larger ones: coordinate checks, and the rule's form against the published one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lmlab import LabError
from lmlab.model.build import build_model
from lmlab.model.gpt import GPTModel
from lmlab.model.initial import initialise
from lmlab.optim.build import build_optimizer
from lmlab.optim.groups import parameter_groups
from lmlab.recipe import GPT, PRESETS, AdamW, Muon, Recipe, check, override
from lmlab.recipe.optim import Optim
from lmlab.scaling.transfer import Transfer, transfer

VOCABULARY, CONTEXT, HEAD_WIDTH = 48, 16, 32
WIDTHS = (64, 128, 256, 512)
STEPS = 3
GPT2 = PRESETS["gpt2"]
MODERN = {**PRESETS["modern"], "zero_init": False, "softcap": 0.0}
ADAMW, MUON = AdamW(lr=1e-2), Muon(lr=0.05, adam_lr=1e-2)


def model_of(options: dict, width: int, layers: int, optim: Optim) -> GPTModel:
    shape = {"layers": layers, "heads": width // HEAD_WIDTH, "width": width, "hidden": width, "context": CONTEXT}
    model = build_model(GPT(**shape, **options), VOCABULARY)
    initialise(model, 1, optim.transfer_from)
    return model


def from_size(optim: Optim, *size: int) -> Optim:
    return dataclasses.replace(optim, transfer_from=size)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Text that can be learned: every token says the next one."""
    tokens = torch.randint(VOCABULARY, (4, 1), generator=torch.Generator().manual_seed(step))
    tokens = (tokens + 7 * torch.arange(CONTEXT + 1)) % VOCABULARY
    return tokens[:, :-1], tokens[:, 1:]


def coordinates(options: dict, width: int, layers: int, optim: Optim) -> dict[str, float]:
    """After a few steps: root mean squares of the last block's output, and of how far it and the logits have moved."""
    model = model_of(options, width, layers, optim)
    before = looked_at(model)
    optimizer = build_optimizer(model, optim, "cpu")
    for step in range(STEPS):
        learn(model, step)
        optimizer.step()
    after = looked_at(model)
    return {
        "stream": rms(after["stream"]),
        "stream's change": rms(after["stream"] - before["stream"]),
        "logits' change": rms(after["logits"] - before["logits"]),
    }


def learn(model: GPTModel, step: int) -> None:
    """The gradients of a batch."""
    inputs, targets = batch(step)
    model.zero_grad()
    (model.loss_sum(inputs, targets) / targets.numel()).backward()


@torch.no_grad()
def looked_at(model: GPTModel) -> dict[str, torch.Tensor]:
    inputs, _ = batch(99)
    stream = model.stream(inputs, torch.arange(CONTEXT), None)
    return {"stream": stream, "logits": model.logits(stream)}


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def growth(small: dict[str, float], large: dict[str, float]) -> dict[str, float]:
    return {name: large[name] / small[name] for name in small}


@pytest.mark.parametrize("options, optim", [(GPT2, ADAMW), (MODERN, ADAMW), (MODERN, MUON)])
def test_activations_stay_flat_over_widths_of_64_to_512_with_the_rule_and_grow_without_it(options, optim):
    small = coordinates(options, WIDTHS[0], 2, optim)
    for width in WIDTHS[1:]:
        with_rule = growth(small, coordinates(options, width, 2, from_size(optim, WIDTHS[0])))
        assert all(0.6 < share < 1.6 for share in with_rule.values()), (width, with_rule)
    without = growth(small, coordinates(options, WIDTHS[-1], 2, optim))
    assert without["stream's change"] > 3 and without["logits' change"] > 2.5, without


def test_activations_stay_flat_over_2_to_16_layers_with_the_rule_and_grow_without_it():
    small = coordinates(GPT2, 64, 2, ADAMW)
    for layers in (4, 16):
        with_rule = growth(small, coordinates(GPT2, 64, layers, from_size(ADAMW, 64, 2)))
        assert all(0.5 < share < 1.6 for share in with_rule.values()), (layers, with_rule)
    without = growth(small, coordinates(GPT2, 64, 16, from_size(ADAMW, 64)))
    assert without["stream's change"] > 3, without


def test_the_folded_form_takes_the_steps_of_the_published_one_with_its_multipliers():
    m, d = 4, 3
    optim = AdamW(lr=1e-2, weight_decay=0.3, eps=1e-4, decay="all", transfer_from=(16, 2))
    config = GPT(layers=2 * d, heads=2, width=16 * m, hidden=40 * m, context=CONTEXT, **GPT2)
    folded = build_model(config, VOCABULARY).double()
    initialise(folded, 1, optim.transfer_from)
    published = build_model(config, VOCABULARY).double()
    published.load_state_dict(folded.state_dict())
    # Both forms begin with the same function: what is folded into a parameter is a multiplier there.
    published.norm.register_forward_hook(lambda module, taken, given: given / m)
    inside = [part for block in published.blocks for part in (block.attention.projection, block.mlp.down)]
    for part in inside:
        part.register_forward_hook(lambda module, taken, given: given / d)
    with torch.no_grad():
        for parameter in published.norm.parameters():
            parameter *= m
        for part in inside:
            for parameter in part.parameters():
                parameter *= d
    groups = [
        # arXiv 2505.01618, table 1: by name, the rate's and epsilon's factors, and the weight decay's, alpha = 1.
        {
            "params": [parameter],
            "lr": optim.lr / (m if name.startswith("blocks.") and parameter.ndim == 2 else 1),
            "eps": optim.eps / m / (d if name.startswith("blocks.") else 1),
            "weight_decay": optim.weight_decay * (m if name.startswith("blocks.") and parameter.ndim == 2 else 1),
        }
        for name, parameter in published.named_parameters()
    ]
    theirs = torch.optim.AdamW(groups, betas=optim.betas)
    ours = build_optimizer(folded, optim, "cpu")
    for step in range(STEPS):
        for model, optimizer in ((folded, ours), (published, theirs)):
            learn(model, step)
            optimizer.step()
    found, wanted = looked_at(folded)["logits"], looked_at(published)["logits"]
    assert rms(found - wanted) < 1e-9 * rms(wanted)


@pytest.mark.parametrize("optim", [ADAMW, AdamW(decay="all"), MUON])
def test_a_transfer_from_its_own_size_changes_no_bit(optim):
    models = [model_of(MODERN, 64, 2, optim), model_of(MODERN, 64, 2, from_size(optim, 64, 2))]
    for model, settings in zip(models, (optim, from_size(optim, 64, 2)), strict=True):
        optimizer = build_optimizer(model, settings, "cpu")
        learn(model, 0)
        optimizer.step()
    plain, ruled = (model.state_dict() for model in models)
    assert all(torch.equal(plain[name], ruled[name]) for name in plain)


def test_matrices_start_with_the_spread_that_the_width_asks_for():
    plain, ruled = (
        model_of({**GPT2, "init": init}, 256, 8, from_size(ADAMW, 64, 2)).state_dict() for init in ("torch", "gpt2")
    )
    for values, base in ((plain, 1 / (3 * 64) ** 0.5), (ruled, 0.02)):
        assert float(values["blocks.1.attention.qkv.weight"].std()) == pytest.approx(base / 2, rel=0.02)
        assert torch.equal(values["norm.weight"], torch.full((256,), 0.25))
    # Of gpt2's own shrinking the base model's layers count: .02 / sqrt(2 x 2), for width / sqrt(4), for depth / 4.
    assert float(ruled["blocks.1.mlp.down.weight"].std()) == pytest.approx(0.02 / 2 / 2 / 4, rel=0.02)
    assert float(ruled["embedding.weight"].std()) == pytest.approx(0.02, rel=0.02)


def test_each_group_has_the_factors_of_the_table_and_the_logged_rate_is_the_recipes():
    optim = Muon(lr=0.02, adam_lr=0.004, weight_decay=0.1, eps=1e-9, decay="all", transfer_from=(64, 2))
    model = model_of(GPT2, 256, 8, optim)
    found = {name: group for group in parameter_groups(model, optim) for name in group.parameters}
    expected = {
        "blocks.0.attention.qkv.weight": (0.02, 0.1),
        "blocks.0.mlp.down.weight": (0.02 / 4, 0.1 * 4),
        "blocks.0.mlp.down.bias": (0.004 / 4, 0.1 * 4),
        "blocks.0.mlp_norm.weight": (0.004, 0.1),
        "embedding.weight": (0.004, 0.1),
        "norm.bias": (0.004 / 4, 0.1 * 4),
    }
    for name, (lr, decay) in expected.items():
        assert (found[name].lr, found[name].weight_decay) == pytest.approx((lr, decay)), name
    assert found["norm.weight"].eps == 1e-9 and found["embedding.weight"].eps == pytest.approx(1e-9 / 4)
    assert build_optimizer(model, optim, "cpu").rates() == {"lr": 0.02, "adam_lr": 0.004}


def test_the_setting_names_a_width_or_a_width_and_layers():
    assert transfer(256, 6, ()) == Transfer()
    assert transfer(256, 6, (64,)) == Transfer(width=4)
    assert transfer(256, 6, (64, 2)) == Transfer(width=4, depth=3)
    assert override(Recipe(), {"optim.transfer_from": "64,2"}).optim.transfer_from == (64, 2)
    with pytest.raises(LabError, match="has 3 numbers: expected at most the width and layers"):
        check(override(Recipe(), {"optim.transfer_from": "64,2,4"}))
    with pytest.raises(LabError, match="each at least 1"):
        override(Recipe(), {"optim.transfer_from": "0"})
