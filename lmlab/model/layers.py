"""PyTorch's linear layer and embedding without its initialisation.

That would take seconds, advance the global random generator, and be overwritten by `lmlab.model.initial` or by a checkpoint.
Until then the parameters are uninitialised.
"""

from torch import nn


class Linear(nn.Linear):
    """nn.Linear, uninitialised: x W^T + b."""

    def reset_parameters(self) -> None:
        """Do nothing."""


class Embedding(nn.Embedding):
    """nn.Embedding, uninitialised: one row per token or position."""

    def reset_parameters(self) -> None:
        """Do nothing."""
