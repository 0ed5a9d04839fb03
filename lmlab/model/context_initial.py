"""Initial values of a context-propagation model's parameters.

normal: N(0, .02) for all matrices and the embedding, biases 0. torch: PyTorch's defaults, that is N(0, 1) for the embedding and
U(-b, b) with b = 1 / sqrt(inputs) for a linear layer's matrix and bias. Norms are 1 x + 0. If learning rates are transferred from a
smaller model, standard deviations are too (`lmlab.scaling.transfer_context`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.model.initial import tensor_seed
from lmlab.recipe.model import Context
from lmlab.scaling.transfer_context import DEVIATION, ContextTransfer


def context_values(
    config: Context, name: str, shape: tuple[int, ...], seed: int, sizes: ContextTransfer
) -> Float[Tensor, ...]:
    """Return the initial values of the parameter called `name`; `sizes` is the transfer from a smaller model."""
    layer, _, kind = name.rpartition(".")
    if layer == "norm":
        return torch.ones(shape) if kind == "weight" else torch.zeros(shape)
    scale = sizes.factors(name).initial
    generator = torch.Generator().manual_seed(tensor_seed(seed, name))
    if config.init == "torch":
        if layer == "embedding":
            return torch.empty(shape).normal_(generator=generator)
        first = layer == "blocks.0"
        inputs = (config.width + config.vector) / sizes.inputs if first else config.hidden / sizes.width
        bound = scale / math.sqrt(inputs)
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)
    if kind == "bias":
        return torch.zeros(shape)
    return torch.empty(shape).normal_(std=scale * DEVIATION, generator=generator)
