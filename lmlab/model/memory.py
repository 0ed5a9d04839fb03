"""Activation memory: bytes that a model's forward pass saves for backward, in eager mode. Arithmetic only: no torch.

Each family counts its own: `gpt_memory.py`, `context_cost.py`.
"""

from __future__ import annotations

from lmlab.model.families import family_of
from lmlab.recipe.model import Model


def activation_bytes(model: Model, vocabulary: int, micro_batch: int, element_bytes: int, device: str = "cpu") -> int:
    """Return the bytes saved for backward of `micro_batch` sequences of the model's context; `device` is cpu or cuda.

    `element_bytes` is the size of the operands of multiplications: 4, or 2 under autocast. Gradients, optimizer state, weights, and
    tensors that are freed before the backward pass aren't counted.
    """
    return family_of(model).saved_bytes(model, vocabulary, micro_batch, element_bytes, device)
