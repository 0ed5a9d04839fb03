"""The global gradient norm, and clipping by it (arXiv 1211.5063)."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """Return the L2 norm of all gradients together, on their device, without synchronising with it."""
    return torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float, norm: Float[Tensor, ""]) -> None:
    """Scale all gradients in place so that their global norm, which is `norm` now, is at most `limit` (0: no clipping).

    If `norm` isn't finite the caller must skip the step instead: scaling can't repair the gradients, since NaN times zero is NaN.
    """
    if limit > 0:
        owners = [parameter for parameter in parameters if parameter.grad is not None]
        torch.nn.utils.clip_grads_with_norm_(owners, limit, norm)
