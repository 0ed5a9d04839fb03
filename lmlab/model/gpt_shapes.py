"""Sizes derived from a recipe's model settings. Arithmetic only: no torch."""

from __future__ import annotations

from lmlab.recipe.model import GPT

LARGEST_LOGITS = 1 << 26
"""Most logits of a pass that the loss computes at once: 256 MB in float32, of which it needs three times as much."""
CHUNK_LOGITS = {"cpu": 1 << 24}
"""Logits of a chunk where they are computed in chunks: 64 MB in float32, 333 tokens at a vocabulary of 50,257."""
CHUNK_LOGITS_ON_A_GPU = 1 << 28


def loss_chunk(tokens: int, vocabulary: int, device_type: str) -> int | None:
    """Return for how many tokens at a time the loss of a pass computes logits; None if for all of them."""
    return None if tokens * vocabulary <= LARGEST_LOGITS else score_chunk(vocabulary, device_type)


def score_chunk(vocabulary: int, device_type: str) -> int:
    """Return the same for scoring, which always computes in chunks."""
    return max(1, CHUNK_LOGITS.get(device_type, CHUNK_LOGITS_ON_A_GPU) // vocabulary)


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
