"""What a context-propagation model costs: parameters, multiplications, and what its forward pass keeps. No torch.

A token is multiplied by the first layer (embedding + vector -> hidden), the others (hidden -> hidden), the three gate matrices
(hidden -> vector) and the head (hidden -> vocabulary).
"""

from __future__ import annotations

from lmlab.recipe.model import Context

FLOAT32 = 4
INT64 = 8
GATES = 3
"""Candidate, forget and input: each a vector."""


def context_parameters(model: Context, vocabulary: int) -> dict[str, int]:
    """Trained numbers by part: see `lmlab.model.cost.parameters`."""
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
    """Of a token with the matrices of layers and gates."""
    first = (model.width + model.vector) * model.hidden
    return first + (model.layers - 1) * model.hidden**2 + GATES * model.vector * model.hidden


def context_bytes(model: Context, vocabulary: int, micro_batch: int, element_bytes: int) -> int:
    """Bytes kept for the backward pass: see `lmlab.model.memory.activation_bytes`; on a GPU the same.

    Of a token: every layer's output, with residuals the normed stream, the vector that it was read with, the log-probabilities
    and the target; and of all tokens but the last, after which the vector is read by nobody, the gates, what they add up to, and
    its norm's mean and deviation. Dropout keeps no mask, because what it dropped is a zero of the layer's output.
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
