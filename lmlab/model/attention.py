"""Causal multi-head self-attention.

Queries, keys and values come from one fused projection. With `kv_heads`, groups of query heads share keys and values (arXiv
2305.13245); `qk_norm` divides each head's query and key by their root mean square (arXiv 2010.04245, without a learned
weight); `value_residual` mixes in the first layer's values (arXiv 2410.17897).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from lmlab.model.cache import LayerCache
from lmlab.model.dropout import Dropout, dropout
from lmlab.model.gpt_shapes import head_width, key_value_heads, qkv_width
from lmlab.model.layers import Linear
from lmlab.model.norms import rms_norm
from lmlab.model.rotary import Rotation, rotate
from lmlab.recipe.model import GPT

Heads = Float[Tensor, "batch time _ _"]


class Attention(nn.Module):
    """Multi-head attention: maps the normalised residual stream to the update that is added to the stream.

    `qkv_rows` are the numbers of rows of `qkv.weight` for queries, keys and values.
    """

    def __init__(self, model: GPT, layer: int) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_width = model.heads, key_value_heads(model), head_width(model)
        self.qkv_rows = tuple(heads * self.head_width for heads in (self.heads, self.key_heads, self.key_heads))
        self.qkv = Linear(model.width, qkv_width(model), bias=model.qkv_bias)
        self.projection = Linear(model.width, model.width, bias=model.bias)
        self.qk_norm, self.epsilon = model.qk_norm, model.norm_epsilon
        self.first_share = nn.Parameter(torch.empty(1)) if model.value_residual and layer > 0 else None
        self.dropout = model.dropout
        self.residual_dropout = Dropout(model.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        turn: Rotation | None,
        first_values: Float[Tensor, "batch time kv_heads head_width"] | None,
        memory: LayerCache | None,
        mask: Float[Tensor, "batch 1 time time"] | None,
    ) -> tuple[Float[Tensor, "batch time width"], Float[Tensor, "batch time kv_heads head_width"]]:
        """Return the update of the stream and this layer's values.

        `mask` is added to the scores; None: each token attends to all up to itself. When decoding, `memory` holds keys and values
        before `x`, and what is visible.
        """
        queries, keys, values = self.project(x, turn)
        if self.first_share is not None and first_values is not None:
            values = torch.lerp(values, first_values, self.first_share.to(values.dtype))
        seen, past_keys, past_values = mask, keys, values
        if memory is not None:
            seen, past_keys, past_values = memory.extend(keys, values)
        mixed = attend(queries, past_keys, past_values, seen, self.dropout if self.training else 0.0)
        return self.residual_dropout(self.projection(mixed.flatten(2))), values

    def project(self, x: Float[Tensor, "batch time width"], turn: Rotation | None) -> tuple[Heads, Heads, Heads]:
        """Return queries, keys and values, each `batch time heads head_width`."""
        heads = self.qkv(x).unflatten(-1, (-1, self.head_width))
        groups = (self.heads, self.key_heads, self.key_heads)
        if not self.qk_norm and turn is None:
            found: tuple[Heads, Heads, Heads] = heads.split(groups, dim=2)
            return found
        # Queries and keys are adjacent, so that one operation handles both.
        both, values = heads.split((self.heads + self.key_heads, self.key_heads), dim=2)
        if self.qk_norm:
            both = rms_norm(both, self.epsilon)
        if turn is not None:
            both = rotate(both, turn)
        queries, keys = both.split((self.heads, self.key_heads), dim=2)
        return queries, keys, values


def attend(
    queries: Float[Tensor, "batch time heads width"],
    keys: Float[Tensor, "batch past kv_heads width"],
    values: Float[Tensor, "batch past kv_heads width"],
    mask: Bool[Tensor, "rows 1 time past"] | Float[Tensor, "rows 1 time past"] | None,
    dropped: float,
) -> Float[Tensor, "batch time heads width"]:
    """Return softmax(Q K^T / sqrt(width)) V with attention dropout `dropped`, causally if `mask` is None.

    A mask of bools is True where a token is attended to; one of numbers is added to the scores.
    """
    queries, keys, values = queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
    numbers = mask is None or mask.is_floating_point()
    if dropped and numbers and queries.device.type == "cpu" and not torch.compiler.is_compiling():
        return attend_unfused(queries, keys, values, dropped, mask).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=mask,
        dropout_p=dropped,
        is_causal=mask is None,
        enable_gqa=keys.shape[1] != queries.shape[1],
    )
    return mixed.transpose(1, 2)


def attend_unfused(
    queries: Float[Tensor, "batch heads time width"],
    keys: Float[Tensor, "batch kv_heads time width"],
    values: Float[Tensor, "batch kv_heads time width"],
    dropped: float,
    mask: Float[Tensor, "batch 1 time time"] | None,
) -> Float[Tensor, "batch heads time width"]:
    """`attend` with dropout on a CPU, where PyTorch has no fused kernel for it, and generates dropout masks slowly."""
    batch, heads, time, width = queries.shape
    group = heads // keys.shape[1]
    if group > 1:
        keys, values = keys.repeat_interleave(group, dim=1), values.repeat_interleave(group, dim=1)
    queries, keys, values = (entry.reshape(-1, time, width) for entry in (queries, keys, values))
    if mask is None:
        added = torch.full((time, time), float("-inf"), dtype=queries.dtype, device=queries.device).triu_(1)
    else:
        added = mask.to(queries.dtype).expand(batch, heads, time, time).reshape(-1, time, time)
    scores = torch.baddbmm(added, queries, keys.transpose(1, 2), alpha=width**-0.5)
    return torch.bmm(dropout(scores.softmax(dim=-1), dropped), values).view(batch, heads, time, width)
