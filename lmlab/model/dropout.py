"""Dropout: each number is zero with probability p, else divided by 1 - p.

Masks come from torch's global generator of the device, so that whoever seeds it decides them. On a CPU PyTorch draws
a float64 for every number, which takes longer than the matrix multiplication beside it (2.1 ms against .5 ms here for
262,144 numbers). So on a CPU one 64-bit draw decides four numbers with 16 bits each. p is then a multiple of 2^-16, and
what is kept is scaled by exactly that p, so that the mean stays what it was.
"""

import math

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
    dropped = min(round(share * STEPS), STEPS - 1)
    numbers = math.prod(x.shape)
    draws = torch.empty(-(-numbers // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:numbers]
    kept = (draws >= dropped - STEPS // 2).view(x.shape)
    return x * kept.to(x.dtype).mul_(STEPS / (STEPS - dropped))
