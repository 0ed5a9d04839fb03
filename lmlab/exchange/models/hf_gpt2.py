"""GPT-2 of transformers (GPT2LMHeadModel): its configuration and its names of weights, in both directions.

Its linear layers (Conv1D) store their matrices as [inputs, outputs].
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from lmlab.exchange.models.hf_config import Config
from lmlab.exchange.models.tables import Table, part
from lmlab.model.gpt_shapes import hidden_width
from lmlab.recipe.model import GPT

CLASS = "GPT2LMHeadModel"
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "relu2",
}
"""Its words -> ours; the first of several is written."""
PASSED_OVER = re.compile(r"\.attn\.(bias|masked_bias)$|^lm_head\.weight$")
"""Causal masks of older files, and the head where it is the embedding."""
PREFIX = "transformer."
LINEAR = {
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
NORMS = {"attention_norm": "ln_1", "mlp_norm": "ln_2"}


def settings_of(config: Config) -> GPT:
    """Return the settings that a configuration stands for; LabError for one that lmlab's GPT can't express."""
    config.require("scale_attn_weights", True)
    config.require("scale_attn_by_inverse_layer_idx", False)
    config.require("add_cross_attention", False)
    return GPT(
        layers=config.size("n_layer", 12),
        heads=config.size("n_head", 12),
        width=config.size("n_embd", 768),
        hidden=config.size("n_inner") if "n_inner" in config else None,
        context=config.size("n_positions", 1024),
        positions="learned",
        norm="layernorm",
        activation=config.one_of("activation_function", ACTIVATIONS, "gelu_new"),  # type: ignore[arg-type]
        tied=config.flag("tie_word_embeddings", True),
        dropout=config.dropout("resid_pdrop", "embd_pdrop", "attn_pdrop", default=0.1),
        norm_epsilon=config.number("layer_norm_epsilon", 1e-5),
    )


def config_of(model: GPT, vocabulary: int) -> dict[str, Any]:
    """Return the configuration of one of our models that `reasons_against` has nothing against."""
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return {
        "architectures": [CLASS],
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_positions": model.context,
        "n_embd": model.width,
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_inner": None if hidden_width(model) == 4 * model.width else hidden_width(model),
        "activation_function": names[model.activation],
        "layer_norm_epsilon": model.norm_epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), model.dropout),
        "tie_word_embeddings": model.tied,
    }


def reasons_against(model: GPT) -> Iterator[str]:
    """Yield the settings that it can't express."""
    if model.positions != "learned":
        yield f"model.positions {model.positions}"
    if model.norm != "layernorm":
        yield f"model.norm {model.norm}"
    if model.activation not in ACTIVATIONS.values():
        yield f"model.activation {model.activation}"
    if model.kv_heads not in (None, model.heads):
        yield f"model.kv_heads {model.kv_heads}"


def with_its_biases(model: GPT) -> GPT:
    """Return the model with all biases that it has there: those that ours lacks are zero."""
    return dataclasses.replace(model, bias=True, qkv_bias=True)


def table(model: GPT, prefix: str = PREFIX) -> Table:
    """Return its names of weights, with the prefix that files of the bare model lack."""
    found = {
        "embedding.weight": part(f"{prefix}wte.weight"),
        "positions.weight": part(f"{prefix}wpe.weight"),
        "head.weight": part("lm_head.weight"),
        "norm.weight": part(f"{prefix}ln_f.weight"),
        "norm.bias": part(f"{prefix}ln_f.bias"),
    }
    for ours, theirs in {**LINEAR, **NORMS}.items():
        name = f"{prefix}h.{{layer}}.{theirs}"
        found[f"{ours}.weight"] = part(f"{name}.weight", turned=ours in LINEAR)
        found[f"{ours}.bias"] = part(f"{name}.bias")
    return found
