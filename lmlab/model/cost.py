"""A model's parameters, floating-point operations per token, and bytes saved for backward. Arithmetic only: no torch.

Each family counts its own: `gpt_cost.py`, `gpt_memory.py`, `context_cost.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.model.families import family_of
from lmlab.recipe.model import Model


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Floating-point operations of matrix multiplications; a multiply-add counts as two."""

    forward: float
    backward: float

    @property
    def training(self) -> float:
        """Operations of forward and backward pass together."""
        return self.forward + self.backward


def parameters(model: Model, vocabulary: int) -> dict[str, int]:
    """Return the number of parameters by part, their `total`, and `matrix`.

    `ngrams` are look-up tables, 0 in a family without them. `matrix` counts the matrices that every token is multiplied by: those
    of the blocks and the head's, also if it is tied to the embedding, but no look-up tables.
    """
    return family_of(model).parameters(model, vocabulary)


def has_tables(model: Model) -> bool:
    """Return whether the model has n-gram tables."""
    return parameters(model, 1)["ngrams"] > 0


def block_matrices(model: Model, vocabulary: int) -> int:
    """Return the number of parameters in the matrices that every token is multiplied by before the head."""
    return parameters(model, vocabulary)["matrix"] - vocabulary * family_of(model).head_inputs(model)


def flops_per_token(model: Model, vocabulary: int, context: int | None = None, causal: bool = False) -> Flops:
    """Return the operations per token in a window of `context` tokens (None: the model's context).

    Each position attends to all T positions, as a plain attention kernel computes it; with `causal`, to itself and the positions
    before it, (T + 1) / 2 on average, as a fused kernel computes it. Each multiplication of the forward pass has two in the
    backward pass, one for each factor's gradient. The count of a recurrent model doesn't depend on the window; its first layer
    counts in full, even if the embedding's part is looked up.
    """
    window = model.context if context is None else context
    forward = 2 * family_of(model).forward_multiplications(model, vocabulary, window, causal)
    return Flops(forward=forward, backward=2 * forward)


def palm_flops_per_token(model: Model, vocabulary: int, effective_context: float | None = None) -> float:
    """Return the training operations per token by PaLM's formula (arXiv 2204.02311, appendix B), in which MFU is reported.

    6 x matrix parameters + 12 x layers x heads x head width x effective context (None: the model's context); for a recurrent
    model only the first term.
    """
    products = 6 * parameters(model, vocabulary)["matrix"]
    seen = model.context if effective_context is None else effective_context
    return products + 6 * family_of(model).attention_multiplications(model, seen)


def activation_bytes(model: Model, vocabulary: int, micro_batch: int, element_bytes: int, device: str = "cpu") -> int:
    """Return the bytes saved for backward of `micro_batch` sequences of the model's context; `device` is cpu or cuda.

    `element_bytes` is the size of the operands of multiplications: 4, or 2 under autocast. Gradients, optimizer state, weights, and
    tensors that are freed before the backward pass aren't counted.
    """
    return family_of(model).saved_bytes(model, vocabulary, micro_batch, element_bytes, device)
