"""Which tokens of a window belong to one document, where attention doesn't reach across documents.

The boundary token begins a document: it attends to itself alone, and the tokens after it to it and to each other. So the first
token of a document is predicted as at the beginning of a text, and the boundary itself from the document that it ends.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def document_starts(
    tokens: Int[Tensor, "batch time"],
    positions: Int[Tensor, "rows time"],
    boundary: int,
    before: Int[Tensor, " batch"] | None = None,
) -> Int[Tensor, "batch time"]:
    """Return the position at which each token's document begins.

    `positions` are those of the tokens; `before` is where the document begins that the tokens continue (None: at position 0).
    """
    found = torch.where(tokens == boundary, positions, 0 if before is None else before.unsqueeze(1))
    starts: Int[Tensor, "batch time"] = found.cummax(dim=1).values
    return starts


def same_document(tokens: Int[Tensor, "batch time"], boundary: int) -> Bool[Tensor, "batch 1 time time"]:
    """Return which tokens (last axis) each token of a window attends to: those of its document up to itself."""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    starts = document_starts(tokens, places.unsqueeze(0), boundary)
    visible = (places <= places.unsqueeze(1)) & (places >= starts.unsqueeze(-1))
    return visible.unsqueeze(1)


def attention_mask(
    tokens: Int[Tensor, "batch time"], boundary: int, dtype: torch.dtype
) -> Float[Tensor, "batch 1 time time"]:
    """Return what is added to the scores of attention: 0 where `same_document`, minus infinity elsewhere.

    In `dtype`, or in that of autocast where it is on, as queries are: all layers then share one mask.
    """
    device = tokens.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype
    visible = same_document(tokens, boundary)
    return torch.zeros(visible.shape, dtype=dtype, device=tokens.device).masked_fill(~visible, float("-inf"))
