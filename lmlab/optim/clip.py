"""The norm of the whole gradient, and clipping by it (arXiv 1211.5063)."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Float[Tensor, ""]:
    """Scale all gradients so that their joint norm is at most `limit` (0: leave them); returns the norm before.

    The norm stays on its device, so that nothing waits for it. Where it isn't finite the gradients are worthless
    afterwards, and the caller must skip the step: scaling can't mend them, since NaN times zero is NaN.
    """
    owners = [parameter for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in owners if parameter.grad is not None])
    if limit > 0:
        torch.nn.utils.clip_grads_with_norm_(owners, limit, norm)
    return norm
