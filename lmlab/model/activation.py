"""The nonlinearities: of the MLP, and of the logits.

relu, gelu (exact), gelu_tanh (OpenAI's approximation), relu2 (the square of relu, arXiv 2109.08668), swiglu (silu(gate)
x value, arXiv 2002.05202). relu2 and the soft cap have their gradients written out, because the chains of operations
that autograd makes of them read and write the largest tensors of the model several times more.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lmlab.recipe.model import ActivationName


def activate(name: ActivationName, x: Float[Tensor, "*axes up"]) -> Float[Tensor, "*axes hidden"]:
    """The MLP's nonlinearity; swiglu takes the gate from the first half of the last axis, the value from the second."""
    if name == "relu":
        return F.relu(x)
    if name == "relu2":
        return SquaredReLU.apply(x)
    if name == "swiglu":
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value
    return F.gelu(x, approximate="tanh" if name == "gelu_tanh" else "none")


def soft_cap(logits: Float[Tensor, "*axes"], cap: float) -> Float[Tensor, "*axes"]:
    """cap x tanh(logits / cap): nearly the logits themselves while they are small, and never beyond the cap."""
    return SoftCap.apply(logits, cap)


class SquaredReLU(torch.autograd.Function):
    """y = relu(x)^2, dL/dx = 2 relu(x) dL/dy."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """The square of the positive part."""
        positive = x.clamp_min(0)
        context.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The gradient of x."""
        (positive,) = context.saved_tensors
        return (gradient * positive).mul_(2)


class SoftCap(torch.autograd.Function):
    """y = c tanh(x / c), dL/dx = (1 - tanh(x / c)^2) dL/dy."""

    @staticmethod
    def forward(context: Any, x: Tensor, cap: float) -> Tensor:
        """The capped numbers."""
        tanh = (x / cap).tanh_()
        context.save_for_backward(tanh)
        return tanh * cap

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient of x."""
        (tanh,) = context.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, tanh), None
