"""Llama of transformers (LlamaForCausalLM), and Mistral and Qwen2, which have the same layers: configuration and names.

Its rotary pairs are the two halves of a head, ours adjacent dimensions: the rows of queries and keys are in another order.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.exchange.models.hf_config import Config
from lmlab.exchange.models.tables import Piece, Table, part
from lmlab.model.gpt_shapes import head_width, hidden_width, key_value_heads
from lmlab.recipe.model import GPT

if TYPE_CHECKING:
    from torch import Tensor

CLASS = "LlamaForCausalLM"
MISTRAL, QWEN2 = "MistralForCausalLM", "Qwen2ForCausalLM"
CLASSES = (CLASS, MISTRAL, QWEN2)
PASSED_OVER = re.compile(r"\.rotary_emb\.inv_freq$|^lm_head\.weight$")
LAYER = "model.layers.{layer}"
ROTARY_TYPES = ("default", None)


def settings_of(config: Config, kind: str = CLASS) -> GPT:
    """Return the settings that a configuration of this class stands for; LabError for one that lmlab's GPT can't express."""
    width, heads = config.size("hidden_size"), config.size("num_attention_heads")
    context = config.size("max_position_embeddings")
    _require_full_attention(config, kind, context)
    config.require("hidden_act", "silu")
    if width % heads == 0:
        config.require("head_dim", width // heads)
    own, keys = config.size("intermediate_size"), config.size("num_key_value_heads", heads)
    bias, qkv_bias = _biases(config, kind)
    model = GPT(
        layers=config.size("num_hidden_layers"),
        heads=heads,
        kv_heads=None if keys == heads else keys,
        width=width,
        context=context,
        positions="rotary",
        norm="rmsnorm",
        activation="swiglu",
        bias=bias,
        qkv_bias=qkv_bias,
        tied=config.flag("tie_word_embeddings", False),
        norm_epsilon=config.number("rms_norm_eps", 1e-6),
        rotary_base=_rotary_base(config),
    )
    return model if hidden_width(model) == own else dataclasses.replace(model, hidden=own)


def config_of(model: GPT, vocabulary: int) -> dict[str, Any]:
    """Return the configuration of one of our models that `reasons_against` has nothing against."""
    return {
        "architectures": [CLASS],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "max_position_embeddings": model.context,
        "hidden_size": model.width,
        "intermediate_size": hidden_width(model),
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": key_value_heads(model),
        "head_dim": head_width(model),
        "hidden_act": "silu",
        "rms_norm_eps": model.norm_epsilon,
        # The first for transformers before version 5.
        "rope_theta": model.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rotary_base},
        "attention_bias": model.bias or model.qkv_bias,
        "mlp_bias": model.bias,
        "attention_dropout": 0.0,
        "tie_word_embeddings": model.tied,
    }


def reasons_against(model: GPT) -> Iterator[str]:
    """Yield the settings that it can't express."""
    if model.positions != "rotary":
        yield f"model.positions {model.positions}"
    if model.norm != "rmsnorm":
        yield f"model.norm {model.norm}"
    if model.activation != "swiglu":
        yield f"model.activation {model.activation}"


def with_its_biases(model: GPT) -> GPT:
    """Return the model with all biases that it has there: those that ours lacks are zero."""
    biases = model.bias or model.qkv_bias
    return dataclasses.replace(model, bias=biases, qkv_bias=biases)


def table(model: GPT, mlp_bias: bool) -> Table:
    """Return its names of weights; without `mlp_bias` the biases of the MLP have no place there."""
    found = {
        "embedding.weight": part("model.embed_tokens.weight"),
        "head.weight": part("lm_head.weight"),
        "norm.weight": part("model.norm.weight"),
        "attention_norm.weight": part(f"{LAYER}.input_layernorm.weight"),
        "mlp_norm.weight": part(f"{LAYER}.post_attention_layernorm.weight"),
    }
    for kind in ("weight", "bias"):
        attention = f"{LAYER}.self_attn"
        found[f"attention.qkv.{kind}"] = (
            Piece(name=f"{attention}.q_proj.{kind}", rows="queries", halves=True),
            Piece(name=f"{attention}.k_proj.{kind}", rows="keys", halves=True),
            Piece(name=f"{attention}.v_proj.{kind}", rows="values"),
        )
        found[f"attention.projection.{kind}"] = part(f"{attention}.o_proj.{kind}")
        if kind == "weight" or mlp_bias:
            gate, value = (Piece(name=f"{LAYER}.mlp.{one}_proj.{kind}", rows="hidden") for one in ("gate", "up"))
            found[f"mlp.up.{kind}"] = (gate, value)
            found[f"mlp.down.{kind}"] = part(f"{LAYER}.mlp.down_proj.{kind}")
        else:
            found |= {"mlp.up.bias": (), "mlp.down.bias": ()}
    return found


def _biases(config: Config, kind: str) -> tuple[bool, bool]:
    """Return whether linear layers have biases, and whether the projections of queries, keys and values do."""
    if kind == QWEN2:
        return False, True
    if kind == MISTRAL:
        return False, False
    attention, mlp = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    if mlp and not attention:
        config.require("mlp_bias", False)
    return mlp, attention


def without_zero_biases(model: GPT, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the biases of o_proj where the MLP has none: lmlab's GPT has both or neither.

    LabError where one of them isn't zero.
    """
    if model.bias:
        return dict(tensors)
    biases = {name for name in tensors if name.endswith(".self_attn.o_proj.bias")}
    for name in sorted(biases):
        if bool(tensors[name].any()):
            raise LabError(
                f"it has {name}, which isn't zero, and mlp_bias false: lmlab's GPT has biases in both or in neither"
            )
    return {name: tensor for name, tensor in tensors.items() if name not in biases}


def _require_full_attention(config: Config, kind: str, context: int) -> None:
    """Raise LabError for attention to a part of the context only."""
    if kind == QWEN2:
        config.require("use_sliding_window", False)
    elif isinstance(window := config.values.get("sliding_window"), int) and window < context:
        config.require("sliding_window")
    layers = config.values.get("layer_types")
    if isinstance(layers, list) and any(one != "full_attention" for one in layers):
        config.require("layer_types", "full_attention for each layer")


def _rotary_base(config: Config) -> float:
    """Return the base of the rotary positions, in the form of transformers 5 or of earlier versions."""
    found = config.values.get("rope_parameters")
    values = found if isinstance(found, dict) else {"rope_theta": config.values.get("rope_theta")}
    config.require("rope_scaling", {"rope_type": "default"}, {"type": "default"})
    rope = Config(values, config.name)
    rope.require("rope_type", "default")
    rope.require("partial_rotary_factor", 1.0, 1)
    config.require("partial_rotary_factor", 1.0, 1)
    unknown = sorted(set(values) - {"rope_theta", "rope_type", "partial_rotary_factor"})
    if unknown:
        rope.require(unknown[0])
    return rope.number("rope_theta", 10_000.0)
