"""Rotary position embedding (arXiv 2104.09864): queries and keys are rotated by angles proportional to their position.

A head of width W is W/2 pairs of adjacent dimensions, each read as a complex number. Pair i at position t is multiplied by
e^(j t f_i) with f_i = base^(-2i/W), so that the product of a query and a key depends only on their distance.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

BASE = 10_000.0


class Rotation(NamedTuple):
    """The rotation's factors as cosines, sines and complex numbers, with an axis of size 1 for the heads."""

    cosines: Float[Tensor, "*rows time 1 pairs"]
    sines: Float[Tensor, "*rows time 1 pairs"]
    factors: Complex[Tensor, "*rows time 1 pairs"] | None


def rotation(positions: Int[Tensor, "*rows time"], width: int, dtype: torch.dtype, base: float = BASE) -> Rotation:
    """Return the rotation of heads of `width` at `positions`, in float32, or in float64 for a float64 model."""
    exact = torch.promote_types(dtype, torch.float32)
    frequencies = base ** (torch.arange(0, width, 2, device=positions.device, dtype=exact) / -width)
    angles = (positions.unsqueeze(-1) * frequencies).unsqueeze(-2)
    cosines, sines = angles.cos(), angles.sin()
    return Rotation(cosines, sines, None if torch.compiler.is_compiling() else torch.complex(cosines, sines))


def rotate(heads: Float[Tensor, "batch time heads width"], turn: Rotation) -> Float[Tensor, "batch time heads width"]:
    """Return the heads with each pair of dimensions rotated by its position's angle."""
    pairs = heads.unflatten(-1, (-1, 2)).to(turn.cosines.dtype)
    if turn.factors is not None:
        # One kernel in the forward and one in the backward pass: a fifth of the time of the lines below on a CPU.
        turned = torch.view_as_real(torch.view_as_complex(pairs) * turn.factors)
    else:
        # torch.compile can't generate code for complex numbers, but fuses this into one kernel.
        x, y = pairs.unbind(-1)
        turned = torch.stack((x * turn.cosines - y * turn.sines, x * turn.sines + y * turn.cosines), dim=-1)
    return turned.flatten(-2).to(heads.dtype)
