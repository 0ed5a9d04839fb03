"""The head's product and the cross-entropy, computed for a chunk of tokens at a time, so that no pass holds all its logits.

    chunk of normalised stream -> logits -> nats, gradient of the logits -> gradients of the stream and of the head's matrix

The gradient of a sum of nats is known as soon as the logits are, up to the factor by which the sum is multiplied later. So the
forward pass computes it chunk by chunk, and the backward pass only multiplies. There are as many operations as in two passes, and
the memory is that of one chunk's logits and of the gradients, which exist anyway. The idea is that of Liger (arXiv 2410.10989) and
Cut Your Losses (arXiv 2411.09009).
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from lmlab.model.activation import soft_cap
from lmlab.model.loss import IGNORED, token_losses


def chunked_loss_sum(
    x: Float[Tensor, "*rows width"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, " vocabulary"] | None,
    targets: Int[Tensor, "*rows"],
    cap: float,
    chunk: int,
) -> Float[Tensor, ""]:
    """Return the sum of nats of the targets that aren't IGNORED, from logits x W^T + b of `chunk` tokens at a time.

    The logits are bounded by `cap` (0: not bounded). The sum can be differentiated once. Products have the dtype of `x`, or that of
    autocast where it is on; all else is at least float32.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    learn = torch.is_grad_enabled()
    # A frozen head's gradient is a third of the products.
    of_weight = learn and weight.requires_grad
    found: Float[Tensor, ""] = ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]), weight, bias, targets.reshape(-1), cap, chunk, dtype, learn, of_weight
    )
    return found


def chunked_scores(
    x: Float[Tensor, "*rows width"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, " vocabulary"] | None,
    targets: Int[Tensor, "*rows"],
    cap: float,
    chunk: int,
) -> tuple[Float[Tensor, "*rows"], Bool[Tensor, "*rows"]]:
    """Return the nats of each target and whether it has the largest logit, computed for `chunk` tokens at a time."""
    flat, wanted = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    nats, hits = [], []
    for part, own in zip(flat.split(chunk), wanted.split(chunk), strict=True):
        logits = F.linear(part, weight, bias)
        logits = soft_cap(logits, cap) if cap else logits
        nats.append(token_losses(logits.unsqueeze(0), own.unsqueeze(0)).squeeze(0))
        hits.append(logits.argmax(dim=-1) == own)
    return torch.cat(nats).view(targets.shape), torch.cat(hits).view(targets.shape)


class ChunkedLoss(torch.autograd.Function):
    """The sum of nats; the forward pass computes the gradients too."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        cap: float,
        chunk: int,
        dtype: torch.dtype,
        learn: bool,
        of_weight: bool,
    ) -> Tensor:
        """Return the sum for x [tokens, width] and targets [tokens]; keep the gradients if `learn`: of W and b if `of_weight`."""
        exact = torch.promote_types(dtype, torch.float32)
        matrix = weight.to(dtype)
        total = torch.zeros((), dtype=exact, device=x.device)
        stream_gradient = torch.empty(x.shape if learn else (0,), dtype=dtype, device=x.device)
        # Chunks are added up in at least float32, also where FSDP gathers weights in bfloat16.
        weight_gradient = torch.zeros(weight.shape if of_weight else (0,), dtype=exact, device=x.device)
        bias_gradient = torch.zeros(len(weight) if of_weight and bias is not None else 0, dtype=exact, device=x.device)
        for first in range(0, len(x), chunk):
            rows = slice(first, first + chunk)
            own = x[rows].to(dtype)
            logits = torch.mm(own, matrix.t())
            logits = (logits if bias is None else logits + bias).to(exact)
            tanh = (logits / cap).tanh_() if cap else None
            logits = logits if tanh is None else tanh * cap
            nats, gradient = _nats_and_gradient(logits, targets[rows])
            total += nats
            if not learn:
                continue
            gradient = gradient if tanh is None else torch.ops.aten.tanh_backward(gradient, tanh)
            if of_weight and bias is not None:
                bias_gradient += gradient.sum(0)
            gradient = gradient.to(dtype)
            stream_gradient[rows] = torch.mm(gradient, matrix)
            if not of_weight:
                continue
            if dtype == exact:
                weight_gradient.addmm_(gradient.t(), own)
            else:
                weight_gradient += torch.mm(gradient.t(), own)
        context.save_for_backward(stream_gradient, weight_gradient, bias_gradient)
        context.dtypes = (
            x.dtype,
            weight.dtype if of_weight else None,
            bias.dtype if of_weight and bias is not None else None,
        )
        return total

    @staticmethod
    def backward(context: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, W and b times the sum's own."""
        found = [
            None if dtype is None else (gradient * factor).to(dtype)
            for gradient, dtype in zip(context.saved_tensors, context.dtypes, strict=True)
        ]
        return (*found, None, None, None, None, None, None)


def _nats_and_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of nats over targets that aren't IGNORED, and its gradient softmax(logits) - onehot(target); logits change."""
    counted = targets != IGNORED
    wanted = torch.where(counted, targets, 0).unsqueeze(1)
    sums = torch.logsumexp(logits, dim=1, keepdim=True)
    nats = torch.where(counted, (sums - logits.gather(1, wanted)).squeeze(1), 0.0).sum()
    gradient = logits.sub_(sums).exp_()
    gradient.scatter_add_(1, wanted, torch.full_like(sums, -1.0))
    # Selected, not multiplied: a row that doesn't count may hold NaN.
    gradient.masked_fill_(~counted.unsqueeze(1), 0.0)
    return nats, gradient
