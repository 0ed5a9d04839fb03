"""Initial values of a GPT's parameters.

gpt2: N(0, .02); the projections into the stream N(0, .02 / sqrt(2 layers)), because 2 x layers of them add up.
normal: N(0, .02) for all. torch: PyTorch's defaults, that is N(0, 1) for tables and U(-b, b) with
b = 1 / sqrt(inputs) for a linear layer's matrix and bias. Elsewhere biases are 0. Norms are 1 x + 0.
zero_init: the projections into the stream, and an untied head, start at zero, so that the model starts as the
uniform distribution. The value residual starts at equal shares, the embedding skip at 0, and n-gram tables at zero. If
learning rates are transferred from a smaller model, standard deviations are too (`lmlab.scaling.transfer`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.model.gpt_shapes import hidden_width
from lmlab.model.initial import tensor_seed
from lmlab.recipe.model import GPT
from lmlab.scaling.transfer import Transfer
from lmlab.scaling.transfer_context import DEVIATION


def gpt_values(config: GPT, name: str, shape: tuple[int, ...], seed: int, sizes: Transfer) -> Float[Tensor, ...]:
    """Return the initial values of the parameter called `name`; `sizes` is the transfer from a smaller model."""
    layer, _, kind = name.rpartition(".")
    scale = sizes.factors(name).initial
    if kind == "first_share":
        return torch.full(shape, 0.5)
    if kind == "stream_shares":
        return torch.tensor([1.0, 0.0])
    if layer.startswith("ngram_tables"):
        return torch.zeros(shape)
    if layer.endswith("norm"):
        return torch.full(shape, scale) if kind == "weight" else torch.zeros(shape)
    into_stream = layer.endswith(("projection", "down"))
    if config.zero_init and (into_stream or layer == "head"):
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(tensor_seed(seed, name))
    if config.init == "torch":
        if layer in ("embedding", "positions"):
            return torch.empty(shape).normal_(generator=generator)
        inputs = hidden_width(config) if layer.endswith("down") else config.width
        bound = scale / math.sqrt(inputs / sizes.width)
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)
    if kind == "bias":
        return torch.zeros(shape)
    shrink = math.sqrt(2 * config.layers / sizes.depth) if config.init == "gpt2" and into_stream else 1.0
    return torch.empty(shape).normal_(std=scale * DEVIATION / shrink, generator=generator)
