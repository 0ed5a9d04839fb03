"""Costs of a context-propagation model: parameters, multiplications, and memory saved for backward. No torch.

A token is multiplied by the first layer (embedding + vector -> hidden), the others (hidden -> hidden), the three gate matrices
(hidden -> vector) and the head (hidden -> vocabulary).
"""

from __future__ import annotations

from lmlab.recipe.model import Context

FLOAT32 = 4
INT64 = 8
GATES = 3
"""Number of gate vectors: candidate, forget and input."""


def context_parameters(model: Context, vocabulary: int) -> dict[str, int]:
    """Return the number of parameters by part: see `lmlab.model.cost.parameters`."""
    inner, head = block_multiplications(model), vocabulary * model.hidden
    gates = GATES * model.vector * model.hidden
    parts = {
        "embedding": vocabulary * model.width,
        "ngrams": 0,
        "mlp": inner - gates + model.layers * model.hidden,
        "gates": gates + GATES * model.vector,
        "norms": 2 * model.vector,
        "head": head + vocabulary,
    }
    return parts | {"total": sum(parts.values()), "matrix": inner + head}


def block_multiplications(model: Context) -> int:
    """Return the multiplications per token with the matrices of layers and gates."""
    first = (model.width + model.vector) * model.hidden
    return first + (model.layers - 1) * model.hidden**2 + GATES * model.vector * model.hidden


def context_bytes(model: Context, vocabulary: int, micro_batch: int, element_bytes: int) -> int:
    """Return the bytes saved for backward: see `lmlab.model.cost.activation_bytes`; the same on CPU and GPU.

    For each token: every layer's output, with residuals the normalised stream, the context vector that it was read with, the
    log-probabilities and the target. For each token but the last, whose updated vector isn't read: the gates, the vector u that
    LayerNorm reads, and its mean and deviation. Dropout saves no mask, because a dropped number is a zero in the layer's output.
    """
    time, vector = model.context, model.vector * FLOAT32
    token = (model.layers + model.residual) * model.hidden * element_bytes + vector + vocabulary * FLOAT32 + INT64
    update = GATES * vector + vector + 2 * FLOAT32
    by_table = vocabulary <= micro_batch * time
    if not by_table:
        token += model.width * element_bytes
    copies = context_parameters(model, vocabulary)["matrix"] + by_table * vocabulary * model.width
    copied = copies * element_bytes if element_bytes < FLOAT32 else 0
    return micro_batch * (time * token + (time - 1) * update) + copied
