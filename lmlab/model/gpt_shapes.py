"""Sizes derived from a recipe's model settings. Arithmetic only: no torch."""

from __future__ import annotations

from lmlab.recipe.model import GPT


def head_width(model: GPT) -> int:
    """Return the size of one head's query, key or value."""
    return model.width // model.heads


def key_value_heads(model: GPT) -> int:
    """Return the number of key heads of a layer, which is also that of value heads."""
    return model.heads if model.kv_heads is None else model.kv_heads


def qkv_width(model: GPT) -> int:
    """Return the number of rows of the fused projection: all query heads, then all key heads, then all value heads."""
    return (model.heads + 2 * key_value_heads(model)) * head_width(model)


def hidden_width(model: GPT) -> int:
    """Return the hidden width of the MLP.

    By default 4 x width, and for swiglu 8/3 x width, which gives its three matrices as many parameters as the usual two (arXiv
    2002.05202), rounded up to a multiple of 8: ceil(8 width / 3 / 8) x 8 = 8 ceil(width / 3).
    """
    if model.hidden is not None:
        return model.hidden
    return 8 * -(-model.width // 3) if model.activation == "swiglu" else 4 * model.width


def up_width(model: GPT) -> int:
    """Return the number of rows of the up-projection, which for swiglu computes both gate and value."""
    return hidden_width(model) * (2 if model.activation == "swiglu" else 1)
