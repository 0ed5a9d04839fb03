"""Attention against loops over heads and positions, and groups against repeated heads."""

import math

import pytest
import torch
from torch import Tensor

from lmlab.model.attention import attend, attend_unfused
from tests.model.grid import random_model, random_tokens, settings


def attended_slowly(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Position by position and head by head, `batch time heads width`."""
    out = torch.empty_like(queries)
    group = queries.shape[2] // keys.shape[2]
    for row in range(queries.shape[0]):
        for head in range(queries.shape[2]):
            for at in range(queries.shape[1]):
                scores = [
                    float(queries[row, at, head] @ keys[row, past, head // group]) / math.sqrt(queries.shape[3])
                    for past in range(at + 1)
                ]
                weights = [math.exp(score) for score in scores]
                total = sum(weights)
                mixed = sum(weight / total * values[row, past, head // group] for past, weight in enumerate(weights))
                out[row, at, head] = mixed
    return out


def random_heads(kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 5, heads, 4) for heads in (4, kv_heads, kv_heads)]
    queries, keys, values = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return queries, keys, values


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_is_the_softmax_weighted_mean_of_the_past(kv_heads: int) -> None:
    queries, keys, values = random_heads(kv_heads)
    expected = attended_slowly(queries, keys, values)
    torch.testing.assert_close(attend(queries, keys, values, None, 0.0), expected)
    unfused = attend_unfused(queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), 0.0, None)
    torch.testing.assert_close(unfused.transpose(1, 2), expected)


def test_visible_positions_replace_the_causal_mask() -> None:
    queries, keys, values = random_heads(4)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    torch.testing.assert_close(attend(queries, keys, values, causal, 0.0), attend(queries, keys, values, None, 0.0))


def test_dropped_weights_keep_the_mean() -> None:
    queries, keys, values = random_heads(2)
    torch.manual_seed(0)
    many = [entry.repeat(4000, 1, 1, 1) for entry in (queries, keys, values)]
    dropped = attend(*many, None, 0.3).unflatten(0, (4000, 2))
    assert not torch.allclose(dropped[0], dropped[1])
    torch.testing.assert_close(dropped.mean(0), attended_slowly(queries, keys, values), rtol=0, atol=0.05)


@pytest.mark.parametrize("option", ["grouped", "multi_query_rotary", "value_residual_grouped"])
def test_grouped_heads_equal_a_model_whose_keys_and_values_are_repeated(option: str) -> None:
    config = settings(option)
    grouped = random_model(config).eval()
    full = random_model(settings(option, kv_heads=None)).eval()
    state = dict(grouped.state_dict())
    repeats = config.heads // config.kv_heads
    for name, tensor in state.items():
        if ".qkv." in name:
            heads = tensor.unflatten(0, (-1, 4))
            queries, keys, values = heads.split((config.heads, config.kv_heads, config.kv_heads))
            parts = (queries, keys.repeat_interleave(repeats, 0), values.repeat_interleave(repeats, 0))
            state[name] = torch.cat(parts).flatten(0, 1)
    full.load_state_dict(state)
    tokens = random_tokens(2, 12)
    torch.testing.assert_close(full(tokens), grouped(tokens))


def test_qk_norm_makes_attention_blind_to_the_length_of_queries_and_keys() -> None:
    model = random_model(settings("qk_norm", bias=False, qkv_bias=False)).eval()
    tokens = random_tokens(2, 12)
    before = model(tokens)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight[:32] *= 10.0
    torch.testing.assert_close(model(tokens), before, rtol=1e-3, atol=1e-3)
