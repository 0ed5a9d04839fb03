"""Dropout: each number is zero with probability p, else divided by 1 - p.

Masks come from torch's global generator of the device, so that whoever seeds it decides them. On a CPU PyTorch draws
a float64 for every number, which takes longer than the matrix multiplication beside it (2.1 ms against .5 ms here for
262,144 numbers). So on a CPU one 64-bit draw decides four numbers with 16 bits each. p is then a multiple of 2^-16, and
what is kept is scaled by exactly that p, so that the mean stays what it was.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 1 << 16
"""Values that 16 random bits can take."""


class Dropout(nn.Module):
    """`dropout` while training; nothing otherwise."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """`x` with each number dropped with probability `share` while training."""
        return dropout(x, self.share) if self.training else x

    def extra_repr(self) -> str:
        """For print(model)."""
        return f"share={self.share}"


def dropout(x: Float[Tensor, "*axes"], share: float) -> Float[Tensor, "*axes"]:
    """`x` with each number dropped with probability `share`."""
    if not share:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, share)
    return x * dropout_factors(x.shape, share, x)


def dropout_factors(shape: Sequence[int], share: float, like: Float[Tensor, "..."]) -> Float[Tensor, "*axes"]:
    """What `dropout` multiplies numbers of this shape with, of the type and on the device of `like`: 0 or `kept_scale`."""
    if like.device.type != "cpu":
        return F.dropout(torch.ones(shape, dtype=like.dtype, device=like.device), share)
    dropped = _dropped(share)
    numbers = math.prod(shape)
    draws = torch.empty(-(-numbers // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:numbers]
    kept = (draws >= dropped - STEPS // 2).view(shape)
    return kept.to(like.dtype).mul_(STEPS / (STEPS - dropped))


def kept_scale(share: float, like: Float[Tensor, "..."]) -> float:
    """The factor of a number that isn't dropped, as the type of `like` holds it."""
    scale = STEPS / (STEPS - _dropped(share)) if like.device.type == "cpu" else 1 / (1 - share)
    return float(torch.tensor(scale, dtype=like.dtype))


def _dropped(share: float) -> int:
    """Of STEPS values of a draw, those that drop a number."""
    return min(round(share * STEPS), STEPS - 1)
