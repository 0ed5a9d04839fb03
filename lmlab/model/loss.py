"""Cross-entropy in nats. Losses are sums, not means, so that those of micro-batches add up to that of the batch."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100
"""Target that is excluded from the loss: padding, or a prompt that isn't trained on."""


def token_losses(
    logits: Float[Tensor, "batch time vocabulary"], targets: Int[Tensor, "batch time"]
) -> Float[Tensor, "batch time"]:
    """Return the nats of each target, at least in float32; 0 where it is IGNORED. Targets are int64."""
    return _cross_entropy(logits, targets, "none").view(targets.shape)


def loss_sum(logits: Float[Tensor, "batch time vocabulary"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
    """Return the sum of `token_losses`."""
    return _cross_entropy(logits, targets, "sum")


def _cross_entropy(logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
    exact = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(exact, targets.flatten(), ignore_index=IGNORED, reduction=reduction)
