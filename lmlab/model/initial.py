"""Initialisation of a model: a pure function of the recipe's model, the vocabulary, the seed and `optim.transfer_from`.

Each tensor is drawn on the CPU in float32 by its own generator, seeded by (seed, the tensor's name). So it is the same on every
device, doesn't depend on the state of torch's generators, and tensors that two models with different options have in common are
equal.
"""

import hashlib
import math

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.model.build import TrainableModel
from lmlab.model.shapes import hidden_width
from lmlab.recipe.model import GPT, Context
from lmlab.scaling.transfer import Transfer, transfer
from lmlab.scaling.transfer_context import DEVIATION, ContextTransfer, context_transfer


def initialise(model: TrainableModel, seed: int, transfer_from: tuple[int, ...] = ()) -> None:
    """Set every parameter of `model`, in place; `transfer_from` is the recipe's `optim.transfer_from`.

    gpt2: N(0, .02); the projections into the stream N(0, .02 / sqrt(2 layers)), because 2 x layers of them add up.
    normal: N(0, .02) for all. torch: PyTorch's defaults, that is N(0, 1) for tables and U(-b, b) with
    b = 1 / sqrt(inputs) for a linear layer's matrix and bias. Elsewhere biases are 0. Norms are 1 x + 0.
    zero_init: the projections into the stream, and an untied head, start at zero, so that the model starts as the
    uniform distribution. The value residual starts at equal shares, the embedding skip at 0, and n-gram tables at zero. If
    learning rates are transferred from a smaller model, standard deviations are too (`lmlab.scaling.transfer`,
    `transfer_context`).
    """
    config = model.config
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            if isinstance(config, Context):
                sizes = context_transfer(config, transfer_from)
                parameter.copy_(_values_of_context(config, name, shape, seed, sizes))
            else:
                width_and_depth = transfer(config.width, config.layers, transfer_from)
                parameter.copy_(_values_of_gpt(config, name, shape, seed, width_and_depth))


def _values_of_context(
    config: Context, name: str, shape: tuple[int, ...], seed: int, sizes: ContextTransfer
) -> Float[Tensor, "..."]:
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


def _values_of_gpt(config: GPT, name: str, shape: tuple[int, ...], seed: int, sizes: Transfer) -> Float[Tensor, "..."]:
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


def tensor_seed(seed: int, name: str) -> int:
    """Return the seed of one tensor: 64 bits of the SHA-256 of seed and name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little")
