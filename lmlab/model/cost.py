"""A model's number of parameters and floating-point operations per token. Arithmetic only: no torch.

Formulas of the GPT are here, those of the context-propagation model in `context_cost.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.model.context_cost import block_multiplications, context_parameters
from lmlab.model.shapes import head_width, hidden_width, qkv_width, up_width
from lmlab.recipe.model import Context, Model


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

    `mixing` are the scalars of value_residual and embedding_skip. `matrix` counts the matrices that every token is multiplied by:
    those of the blocks and the head's, also if it is tied to the embedding, but no look-up tables.
    """
    if isinstance(model, Context):
        return context_parameters(model, vocabulary)
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


def block_matrices(model: Model, vocabulary: int) -> int:
    """Return the number of parameters in the matrices that every token is multiplied by before the head."""
    head_inputs = model.hidden if isinstance(model, Context) else model.width
    return parameters(model, vocabulary)["matrix"] - vocabulary * head_inputs


def flops_per_token(model: Model, vocabulary: int, context: int | None = None, causal: bool = False) -> Flops:
    """Return the operations per token in a window of `context` tokens (None: the model's context).

    Each position attends to all T positions, as a plain attention kernel computes it; with `causal`, to itself and the positions
    before it, (T + 1) / 2 on average, as a fused kernel computes it. Each multiplication of the forward pass has two in the
    backward pass, one for each factor's gradient. The count of a recurrent model doesn't depend on the window; its first layer
    counts in full, even if the embedding's part is looked up.
    """
    if isinstance(model, Context):
        own = 2 * (block_multiplications(model) + model.hidden * vocabulary)
        return Flops(forward=own, backward=2 * own)
    window = model.context if context is None else context
    seen = (window + 1) / 2 if causal else window
    attended = model.heads * head_width(model)
    # Multiply-adds a layer: q, k, v; scores; weighted values; projection; the MLP's two matrices.
    layer = (
        model.width * qkv_width(model)
        + attended * seen
        + seen * attended
        + attended * model.width
        + model.width * up_width(model)
        + hidden_width(model) * model.width
    )
    forward = 2 * (model.layers * layer + model.width * vocabulary)
    return Flops(forward=forward, backward=2 * forward)


def palm_flops_per_token(model: Model, vocabulary: int, effective_context: float | None = None) -> float:
    """Return the training operations per token by PaLM's formula (arXiv 2204.02311, appendix B), in which MFU is reported.

    6 x matrix parameters + 12 x layers x heads x head width x effective context (None: the model's context); for a recurrent
    model only the first term.
    """
    products = 6 * parameters(model, vocabulary)["matrix"]
    if isinstance(model, Context):
        return products
    seen = model.context if effective_context is None else effective_context
    return products + 12 * model.layers * model.heads * head_width(model) * seen
