"""Costs of a GPT: parameters and multiplications. Arithmetic only: no torch."""

from __future__ import annotations

from lmlab.model.gpt_shapes import head_width, hidden_width, qkv_width, up_width
from lmlab.recipe.model import GPT


def gpt_parameters(model: GPT, vocabulary: int) -> dict[str, int]:
    """Return the number of parameters by part: see `lmlab.model.cost.parameters`.

    `mixing` are the scalars of value_residual and embedding_skip.
    """
    width, layers = model.width, model.layers
    norm = width * (2 if model.bias and model.norm == "layernorm" else 1)
    attention_matrices = width * qkv_width(model) + width * width
    mlp_matrices = width * up_width(model) + hidden_width(model) * width
    attention_biases = qkv_width(model) * model.qkv_bias + width * model.bias
    mlp_biases = (up_width(model) + width) * model.bias
    later = layers - 1
    parts = {
        "embedding": vocabulary * width,
        "ngrams": len(model.ngrams) * model.ngram_rows * width,
        "positions": model.context * width if model.positions == "learned" else 0,
        "attention": layers * (attention_matrices + attention_biases),
        "mlp": layers * (mlp_matrices + mlp_biases),
        "norms": (2 * layers + 1) * norm,
        "mixing": later * (model.value_residual + 2 * model.embedding_skip),
        "head": vocabulary * ((0 if model.tied else width) + model.head_bias),
    }
    matrix = layers * (attention_matrices + mlp_matrices) + vocabulary * width
    return parts | {"total": sum(parts.values()), "matrix": matrix}


def gpt_multiplications(model: GPT, vocabulary: int, seen: float) -> float:
    """Return the multiply-adds of a token's forward pass if each position attends to `seen` positions."""
    # A layer: q, k, v; scores and weighted values; projection; the MLP's two matrices.
    layer = (
        model.width * qkv_width(model)
        + attention_multiplications(model, seen)
        + model.heads * head_width(model) * model.width
        + model.width * up_width(model)
        + hidden_width(model) * model.width
    )
    return model.layers * layer + model.width * vocabulary


def attention_multiplications(model: GPT, seen: float) -> float:
    """Return the multiply-adds of a layer's scores and weighted values over `seen` positions."""
    return 2 * model.heads * head_width(model) * seen
