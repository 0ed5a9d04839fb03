"""Activation functions of the MLP, and the soft cap of the logits.

relu, gelu (exact), gelu_tanh (OpenAI's approximation), relu2 (the square of relu, arXiv 2109.08668), swiglu (silu(gate)
x value, arXiv 2002.05202). relu2 and the soft cap are autograd functions with explicit gradients, because the operations that
autograd would record for them read and write the model's largest tensors several times more.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lmlab.recipe.model import ActivationName


def activate(name: ActivationName, x: Float[Tensor, "*axes up"]) -> Float[Tensor, "*axes hidden"]:
    """Apply the MLP's activation; swiglu takes the gate from the first half of the last axis, the value from the second."""
    if name == "relu":
        return F.relu(x)
    if name == "relu2":
        found: Float[Tensor, "*axes hidden"] = SquaredReLU.apply(x)  # type: ignore[no-untyped-call]
        return found
    if name == "swiglu":
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value
    return F.gelu(x, approximate="tanh" if name == "gelu_tanh" else "none")


def soft_cap(logits: Float[Tensor, "*axes"], cap: float) -> Float[Tensor, "*axes"]:
    """Return cap x tanh(logits / cap), at least in float32: close to the logits while they are small, and bounded by the cap."""
    found: Float[Tensor, "*axes"] = SoftCap.apply(logits, cap)  # type: ignore[no-untyped-call]
    return found


class SquaredReLU(torch.autograd.Function):
    """y = relu(x)^2, dL/dx = 2 relu(x) dL/dy."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """Return relu(x)^2."""
        positive = x.clamp_min(0)
        context.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of x."""
        (positive,) = context.saved_tensors
        found: Tensor = (gradient * positive).mul_(2)
        return found


class SoftCap(torch.autograd.Function):
    """y = c tanh(x / c), dL/dx = (1 - tanh(x / c)^2) dL/dy; y is at least float32, whose tanh has more than bf16's 8 bits."""

    @staticmethod
    def forward(context: Any, x: Tensor, cap: float) -> Tensor:
        """Return c tanh(x / c)."""
        tanh = (x.to(torch.promote_types(x.dtype, torch.float32)) / cap).tanh_()
        context.save_for_backward(tanh)
        context.dtype = x.dtype
        return tanh * cap

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of x, and None for the cap."""
        (tanh,) = context.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, tanh).to(context.dtype), None
