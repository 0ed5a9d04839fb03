"""Initialisation of a model: a pure function of the recipe's model, the vocabulary, the seed and `optim.transfer_from`.

Each tensor is drawn on the CPU in float32 by its own generator, seeded by (seed, the tensor's name). So it is the same on every
device, doesn't depend on the state of torch's generators, and tensors that two models with different options have in common are
equal. The distributions are those of the family: `gpt_initial.py`, `context_initial.py`.
"""

import hashlib

import torch

from lmlab.model.families import family_of
from lmlab.model.trainable import TrainableModel


def initialise(model: TrainableModel, seed: int, transfer_from: tuple[int, ...] = ()) -> None:
    """Set every parameter of `model`, in place; `transfer_from` is the recipe's `optim.transfer_from`."""
    config = model.config
    family = family_of(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(family.initial_values(config, name, tuple(parameter.shape), seed, transfer_from))


def tensor_seed(seed: int, name: str) -> int:
    """Return the seed of one tensor: 64 bits of the SHA-256 of seed and name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little")
