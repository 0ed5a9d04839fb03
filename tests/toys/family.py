"""The smallest model family: embedding, one relu layer, head. It predicts a token from the token before it alone.

It is the worked example of CONTRIBUTING: all that a new family needs is in this file.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from lmlab.model.family import Family
from lmlab.model.initial import tensor_seed
from lmlab.model.layers import Embedding, Linear
from lmlab.model.trainable import TrainableModel
from lmlab.recipe.setting import setting


@dataclass(frozen=True, kw_only=True)
class Toy:
    """The settings in a recipe."""

    presets: ClassVar = {}
    transfer_sizes: ClassVar = ()

    kind: Literal["toy"] = "toy"
    layers: int = setting(1, at_least=1, at_most=8)
    width: int = setting(16, at_least=1, at_most=1 << 10)
    context: int = setting(16, at_least=2, at_most=1 << 10)
    dropout: float = setting(0.0, at_least=0.0, below=1.0)

    def problems(self):
        """No combination is impossible."""
        yield from ()


class ToyState:
    """No token but the last matters, so only the number of tokens is kept."""

    def __init__(self, batch, length):
        self.held, self.length = [0] * batch, length

    def select(self, rows):
        """Keep these rows."""
        self.held = [self.held[row] for row in rows]

    def join(self, other):
        """Add the rows of another state."""
        self.held = [*self.held, *other.held]


class ToyModel(TrainableModel):
    """The model."""

    def __init__(self, config, vocabulary):
        super().__init__(config, vocabulary)
        self.embedding = Embedding(vocabulary, config.width)
        self.blocks = nn.ModuleList(Linear(config.width, config.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = Linear(config.width, vocabulary)

    def forward(self, tokens):
        """Logits of the token after each position."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return self.head(self.norm(x))

    def start_cache(self, batch, length):
        """An empty state."""
        self.require_length(length)
        return ToyState(batch, length)

    @torch.no_grad()
    def advance(self, tokens, cache, lengths=None):
        """Logits after each row's last token."""
        lengths = [tokens.shape[1]] * len(tokens) if lengths is None else lengths
        cache.held = [held + read for held, read in zip(cache.held, lengths, strict=True)]
        return self(tokens)[torch.arange(len(tokens)), torch.tensor(lengths) - 1]


class ToyFamily(Family):
    """What lmlab asks about it."""

    settings = Toy

    def build(self, model, vocabulary):
        """See `Family`."""
        return ToyModel(model, vocabulary)

    def initial_values(self, model, name, shape, seed, transfer_from):
        """Norms 1 and 0, else N(0, .1)."""
        if name.startswith("norm."):
            return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        return torch.empty(shape).normal_(std=0.1, generator=torch.Generator().manual_seed(tensor_seed(seed, name)))

    def parameters(self, model, vocabulary):
        """See `Family`."""
        matrices = model.layers * model.width**2 + vocabulary * model.width
        parts = {
            "embedding": vocabulary * model.width,
            "ngrams": 0,
            "mlp": model.layers * (model.width**2 + model.width),
            "norms": 2 * model.width,
            "head": vocabulary * model.width + vocabulary,
        }
        return parts | {"total": sum(parts.values()), "matrix": matrices}

    def forward_multiplications(self, model, vocabulary, window, causal):
        """See `Family`."""
        return model.layers * model.width**2 + vocabulary * model.width

    def saved_bytes(self, model, vocabulary, micro_batch, element_bytes, device):
        """See `Family`."""
        return micro_batch * model.context * 4 * ((2 * model.layers + 2) * model.width + vocabulary)
