"""PyTorch's linear layer and embedding without its initialisation.

That would take seconds, advance the global random generator, and be overwritten by `lmlab.model.initial` or by a checkpoint.
Until then the parameters are uninitialised.
"""

from jaxtyping import Float
from torch import Tensor, nn

from lmlab.model.low_rank import Adapter, adapted_linear


class Linear(nn.Linear):
    """nn.Linear, uninitialised: x W^T + b. In training mode gradients go to the `adapter` of W where there is one."""

    adapter: Adapter | None = None

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return x W^T + b."""
        if self.adapter is None or not self.training:
            return super().forward(x)
        return adapted_linear(x, self.weight, self.bias, self.adapter)

    def reset_parameters(self) -> None:
        """Do nothing."""


class Embedding(nn.Embedding):
    """nn.Embedding, uninitialised: one row per token or position."""

    def reset_parameters(self) -> None:
        """Do nothing."""
