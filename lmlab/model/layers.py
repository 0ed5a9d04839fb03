"""Linear maps and tables: PyTorch's, without its initial values.

Those would cost seconds, move the global random generator, and be overwritten by `lmlab.model.initial` or by a
checkpoint. Until then the numbers are undefined.
"""

from torch import nn


class Linear(nn.Linear):
    """x W^T + b."""

    def reset_parameters(self) -> None:
        """Leaves the memory as it came."""


class Embedding(nn.Embedding):
    """A table with one row a token or position."""

    def reset_parameters(self) -> None:
        """Leaves the memory as it came."""
