"""Initial values: a pure function of recipe and seed, with the spread that the recipe names."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.recipe.model import GPT
from tests.model.grid import OPTIONS, VOCABULARY, random_tokens, settings

BIG = {"layers": 3, "heads": 4, "width": 128, "context": 64}


def initial(config: GPT, seed: int = 1, vocabulary: int = VOCABULARY) -> dict[str, torch.Tensor]:
    model = build_model(config, vocabulary)
    initialise(model, seed)
    return model.state_dict()


@pytest.mark.parametrize("option", OPTIONS)
def test_the_same_seed_gives_the_same_numbers_whatever_was_drawn_before(option: str) -> None:
    first = initial(settings(option))
    torch.rand(3)
    second = initial(settings(option))
    other = initial(settings(option), seed=2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_shared_tensors_start_alike_where_models_differ_by_an_option() -> None:
    plain, changed = initial(settings("gpt2")), initial(settings("value_residual", tied=False, activation="relu"))
    assert all(torch.equal(plain[name], changed[name]) for name in plain)
    deeper = initial(settings("gpt2", layers=4, init="normal"))
    assert torch.equal(deeper["blocks.2.mlp.up.weight"], plain["blocks.2.mlp.up.weight"])


def test_no_two_tensors_start_alike() -> None:
    values = initial(settings("gpt2", bias=False, qkv_bias=False, norm="rmsnorm"))
    drawn = [tensor.flatten()[:8] for name, tensor in values.items() if "norm" not in name]
    assert len({tuple(tensor.tolist()) for tensor in drawn}) == len(drawn)


@pytest.mark.parametrize("init, shrink", [("gpt2", math.sqrt(6)), ("normal", 1.0)])
def test_matrices_are_normal_with_gpt2s_deviation(init: str, shrink: float) -> None:
    for name, values in initial(GPT(**BIG, init=init, tied=False, head_bias=True), vocabulary=500).items():
        if name.endswith("bias"):
            assert not values.any(), name
        elif "norm" in name:
            assert (values == 1).all(), name
        else:
            deviation = 0.02 / (shrink if "projection" in name or "down" in name else 1.0)
            assert float(values.std()) == pytest.approx(deviation, rel=0.03), name
            assert abs(float(values.mean())) < 4 * deviation / math.sqrt(values.numel()), name


def test_torch_init_has_the_spread_of_pytorchs_own_layers() -> None:
    torch.manual_seed(0)
    config = GPT(**BIG, init="torch", tied=False, head_bias=True)
    theirs = {
        "embedding.weight": nn.Embedding(500, 128).weight,
        "positions.weight": nn.Embedding(64, 128).weight,
        **{f"blocks.0.attention.qkv.{name}": value for name, value in nn.Linear(128, 384).named_parameters()},
        **{f"blocks.0.attention.projection.{name}": value for name, value in nn.Linear(128, 128).named_parameters()},
        **{f"blocks.0.mlp.up.{name}": value for name, value in nn.Linear(128, 512).named_parameters()},
        **{f"blocks.0.mlp.down.{name}": value for name, value in nn.Linear(512, 128).named_parameters()},
        **{f"head.{name}": value for name, value in nn.Linear(128, 500).named_parameters()},
    }
    ours = initial(config, vocabulary=500)
    for name, drawn in theirs.items():
        values = drawn.detach()
        few = 0.25 if values.numel() < 1000 else 0.03
        assert float(ours[name].std()) == pytest.approx(float(values.std()), rel=few), name
        if "embedding" not in name and "positions" not in name:
            bound = 1 / math.sqrt(512 if "down" in name else 128)
            assert 0.9 * bound < float(ours[name].abs().max()) <= bound, name


def test_zero_init_starts_as_the_uniform_distribution() -> None:
    model = build_model(settings("modern"), VOCABULARY)
    initialise(model, 1)
    tokens = random_tokens(2, 12)
    assert model.loss_sum(tokens, tokens).item() == pytest.approx(24 * math.log(VOCABULARY), rel=1e-6)
    zero = {name for name, values in model.state_dict().items() if not values.any()}
    projections = {
        f"blocks.{layer}.{part}.weight" for layer in range(3) for part in ("attention.projection", "mlp.down")
    }
    assert zero == {"head.weight", *projections}
    tied = initial(settings("modern", tied=True))
    assert tied["embedding.weight"].any()


def test_mixing_starts_half_and_half_for_values_and_off_for_streams() -> None:
    values = initial(settings("modern"))
    assert values["blocks.1.attention.first_share"].tolist() == [0.5]
    assert values["blocks.1.stream_shares"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("option", ["ngrams", "modern_ngrams_dropout"])
def test_ngram_tables_start_at_zero_so_that_the_model_starts_as_the_one_without(option: str) -> None:
    config = settings(option, init="torch", zero_init=False)
    values, plain = initial(config), initial(dataclasses.replace(config, ngrams=()))
    assert values.keys() - plain.keys() == {"ngram_tables.0.weight", "ngram_tables.1.weight"}
    assert all(torch.equal(values[name], plain[name]) for name in plain)
    assert not any(values[name].any() for name in values.keys() - plain.keys())


def test_values_are_drawn_in_float32_whatever_the_models_type() -> None:
    model = build_model(settings("gpt2"), VOCABULARY).double()
    initialise(model, 1)
    single = initial(settings("gpt2"))
    assert all(torch.equal(values.float(), single[name]) for name, values in model.state_dict().items())
