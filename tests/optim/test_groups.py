"""Which parameters are updated by which rule: each exactly once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lmlab import LabError
from lmlab.model.build import build_model
from lmlab.optim.groups import Group, assert_covered, parameter_groups
from lmlab.optim.kinds import matrix_rows
from lmlab.recipe import GPT, PRESETS, AdamW, Context, Muon


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Module()
        self.attention.qkv = nn.Linear(width, 3 * width)
        self.attention.out = nn.Linear(width, width, bias=False)
        self.mix = nn.Parameter(torch.ones(()))


class Model(nn.Module):
    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.blocks = nn.ModuleList([Block(4), Block(4)])
        self.head = nn.Linear(4, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


def names(groups: list[Group]) -> list[str]:
    return [name for group in groups for name in group.parameters]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("optim", [AdamW(), AdamW(decay="all"), Muon(), Muon(decay="all")])
def test_every_parameter_stands_in_exactly_one_group(tied, optim):
    model = Model(tied)
    groups = parameter_groups(model, optim)
    found = names(groups)
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(name for name, _ in model.named_parameters())
    assert ("head.weight" in found) is not tied
    numbers = sum(parameter.numel() for group in groups for parameter in group.parameters.values())
    assert numbers == sum(parameter.numel() for parameter in model.parameters())


def test_matrices_and_embeddings_decay_and_vectors_do_not():
    groups = parameter_groups(Model(), AdamW(weight_decay=0.3))
    decaying = {name: group.weight_decay for group in groups for name in group.parameters}
    assert decaying["embedding.weight"] == decaying["blocks.1.attention.qkv.weight"] == 0.3
    for name in ("blocks.0.norm.weight", "blocks.0.attention.qkv.bias", "blocks.0.mix"):
        assert decaying[name] == 0.0
    everything = parameter_groups(Model(), AdamW(weight_decay=0.3, decay="all"))
    assert [group.weight_decay for group in everything] == [0.3]


def test_muon_takes_the_blocks_matrices_and_adamw_the_rest():
    groups = parameter_groups(Model(tied=False), Muon(lr=0.02, adam_lr=0.003))
    rules = {name: (group.rule, group.lr) for group in groups for name in group.parameters}
    muon = sorted(name for name, (rule, _) in rules.items() if rule == "muon")
    assert muon == [f"blocks.{layer}.attention.{part}.weight" for layer in (0, 1) for part in ("out", "qkv")]
    assert rules[muon[0]][1] == 0.02
    for name in ("embedding.weight", "head.weight", "blocks.0.norm.weight", "blocks.0.mix"):
        assert rules[name] == ("adamw", 0.003)


def test_muon_without_blocks_is_refused():
    with pytest.raises(LabError, match="blocks"):
        parameter_groups(nn.Linear(3, 3), Muon())


def test_frozen_parameters_are_left_out():
    model = Model()
    model.embedding.weight.requires_grad_(False)
    assert "embedding.weight" not in names(parameter_groups(model, AdamW()))


def test_a_missing_or_doubled_parameter_is_found():
    model = nn.Linear(2, 2)
    weight, bias = model.weight, model.bias

    def group(**parameters: nn.Parameter) -> Group:
        return Group(rule="adamw", lr=1.0, weight_decay=0.0, eps=1e-8, parameters=parameters)

    assert_covered([group(weight=weight), group(bias=bias)], model.parameters())
    with pytest.raises(AssertionError):
        assert_covered([group(weight=weight)], model.parameters())
    with pytest.raises(AssertionError):
        assert_covered([group(weight=weight, bias=bias), group(again=weight)], model.parameters())


def test_a_fused_projection_is_as_many_matrices_as_its_module_says():
    model = Model()
    assert matrix_rows(model) == {}
    model.blocks[1].attention.qkv_rows = (4, 4, 4)
    assert matrix_rows(model) == {"blocks.1.attention.qkv.weight": (4, 4, 4)}


@pytest.mark.parametrize("kv_heads", [None, 1])
def test_the_real_model_is_grouped_by_its_structure(kv_heads):
    model = build_model(GPT(layers=2, heads=2, width=8, context=4, kv_heads=kv_heads, **PRESETS["modern"]), 11)
    groups = parameter_groups(model, Muon())
    muon = next(group for group in groups if group.rule == "muon")
    parts = ("attention.projection", "attention.qkv", "mlp.down", "mlp.up")
    assert sorted(muon.parameters) == [f"blocks.{layer}.{part}.weight" for layer in (0, 1) for part in parts]
    rows = matrix_rows(model)["blocks.0.attention.qkv.weight"]
    assert rows == ((8, 8, 8) if kv_heads is None else (8, 4, 4))
    assert sum(rows) == len(muon.parameters["blocks.0.attention.qkv.weight"])


def test_muon_takes_the_layers_of_a_context_model_and_its_gates_as_three_matrices():
    model = build_model(Context(layers=2, width=4, hidden=8, vector=6), 11)
    groups = parameter_groups(model, Muon())
    muon = next(group for group in groups if group.rule == "muon")
    assert sorted(muon.parameters) == ["blocks.0.weight", "blocks.1.weight", "gates.weight"]
    assert matrix_rows(model) == {"gates.weight": (6, 6, 6)}
    still = {name for group in groups if not group.weight_decay for name in group.parameters}
    assert {"norm.weight", "norm.bias", "gates.bias", "blocks.0.bias", "head.bias"} <= still
