"""Normalisation: LayerNorm (arXiv 1607.06450) and RMSNorm (arXiv 1910.07467).

RMSNorm divides a vector by its root mean square, y = x / sqrt(mean(x^2) + epsilon), and scales it by a learned weight
per dimension; it has no bias. PyTorch has a fused kernel for it on a GPU, but on a CPU a sequence of operations that takes more
than twice as long as the implementation here.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lmlab.recipe.model import NormName

EPSILON = 1e-5


def build_norm(kind: NormName, width: int, bias: bool, epsilon: float = EPSILON) -> nn.Module:
    """Return the norm of vectors of `width`; `bias` is for LayerNorm only."""
    return RMSNorm(width, epsilon) if kind == "rmsnorm" else nn.LayerNorm(width, eps=epsilon, bias=bias)


class RMSNorm(nn.Module):
    """`rms_norm` with a learned weight."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Float[Tensor, "*axes width"]) -> Float[Tensor, "*axes width"]:
        """Return each vector divided by its root mean square, times the weight."""
        if fast(x):
            return rms_norm(x, self.epsilon) * self.weight
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


def rms_norm(x: Float[Tensor, "*axes width"], epsilon: float = EPSILON) -> Float[Tensor, "*axes width"]:
    """Return each vector divided by its root mean square."""
    if not fast(x):
        return F.rms_norm(x, x.shape[-1:], None, epsilon)
    found: Tensor = RootMeanSquare.apply(x, epsilon)  # type: ignore[no-untyped-call]
    return found


def fast(x: Float[Tensor, "..."]) -> bool:
    """Return whether `RootMeanSquare` is faster than PyTorch's implementation for `x`."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class RootMeanSquare(torch.autograd.Function):
    """y = x r with r = 1 / sqrt(mean(x^2) + epsilon), so that dL/dx = r (g - y mean(g y)) for the gradient g = dL/dy."""

    @staticmethod
    def forward(context: Any, x: Tensor, epsilon: float) -> Tensor:
        """Return the normalised vectors."""
        exact = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
        inverse = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        y: Tensor = (x * inverse).to(x.dtype)
        context.save_for_backward(y, inverse)
        return y

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of x, and None for epsilon."""
        y, inverse = context.saved_tensors
        exact, y_exact = gradient.to(inverse.dtype), y.to(inverse.dtype)
        slope = (exact * y_exact).mean(-1, keepdim=True)
        return torch.addcmul(exact, y_exact, slope, value=-1).mul_(inverse).to(y.dtype), None
