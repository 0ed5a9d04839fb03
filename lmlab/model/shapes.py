"""The widths that follow from a recipe's model settings. Arithmetic only: no torch."""

from __future__ import annotations

from lmlab.recipe.model import GPT


def head_width(model: GPT) -> int:
    """Numbers in one head's query, key or value."""
    return model.width // model.heads


def key_value_heads(model: GPT) -> int:
    """Key heads, and as many value heads, in a layer."""
    return model.heads if model.kv_heads is None else model.kv_heads


def qkv_width(model: GPT) -> int:
    """Rows of the fused projection: all query heads, then all key heads, then all value heads."""
    return (model.heads + 2 * key_value_heads(model)) * head_width(model)


def hidden_width(model: GPT) -> int:
    """Width inside the MLP.

    For swiglu 8/3 of the width, so that its third matrix costs nothing (arXiv 2002.05202), rounded up to a multiple of
    8: ceil(8 width / 3 / 8) x 8 = 8 ceil(width / 3).
    """
    if model.hidden is not None:
        return model.hidden
    return 8 * -(-model.width // 3) if model.activation == "swiglu" else 4 * model.width


def up_width(model: GPT) -> int:
    """Rows of the MLP's first matrix: one multiplication makes both swiglu's gate and what it gates."""
    return hidden_width(model) * (2 if model.activation == "swiglu" else 1)
