"""A linear layer whose matrix is trained through a low-rank adapter: W = W0 + s B A (LoRA, arXiv 2106.09685, section 4.1).

The layer's own weight holds W, so that its forward pass, and everything that reads the model, is that of an ordinary layer. Only
the backward pass differs: with G the gradient of the layer's output, the chain rule gives

    dL/dA = s (G B)^T x        dL/dB = s G^T (x A^T)        dL/dx = G W

which are products with a factor of `rank` rows or columns; the gradient G^T x of the whole matrix is never computed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """The trained factors of a matrix W = base + scale B A, and the frozen matrix that they are added to."""

    weight: Float[Tensor, "outputs inputs"]
    """W itself, the layer's own tensor."""
    base: Float[Tensor, "outputs inputs"]
    a: nn.Parameter
    """[rank, inputs]"""
    b: nn.Parameter
    """[outputs, rank]"""
    scale: float

    @torch.no_grad()
    def merge(self) -> None:
        """Set W from its base and the factors."""
        torch.addmm(self.base, self.b, self.a, alpha=self.scale, out=self.weight)


def adapted_linear(
    x: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    adapter: Adapter,
) -> Float[Tensor, "*rows outputs"]:
    """Return x W^T + b, of which x, A and B get gradients, and W and b none. Under autocast products have its dtype."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    found: Float[Tensor, "*rows outputs"] = AdaptedLinear.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, adapter.a, adapter.b, adapter.scale, dtype
    )
    return found


class AdaptedLinear(torch.autograd.Function):
    """x W^T + b with the gradients of x, A and B."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> Tensor:
        """Return x W^T + b for x [..., inputs], in `dtype`."""
        own, matrix = x.to(dtype), weight.to(dtype)
        context.save_for_backward(own, matrix, a, b)
        context.scale, context.x_dtype = scale, x.dtype
        return F.linear(own, matrix, None if bias is None else bias.to(dtype))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B."""
        x, matrix, a, b = context.saved_tensors
        of_x = (gradient @ matrix).to(context.x_dtype) if context.needs_input_grad[0] else None
        flat, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        of_a = (flat @ b.to(flat.dtype)).t() @ inputs
        of_b = flat.t() @ (inputs @ a.to(inputs.dtype).t())
        return of_x, None, None, (of_a * context.scale).to(a.dtype), (of_b * context.scale).to(b.dtype), None, None
