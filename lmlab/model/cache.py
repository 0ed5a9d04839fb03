"""The key-value cache of decoding: keys and values of the tokens that a model has read.

Memory for `length` tokens a row is allocated at the start. Rows may hold different numbers of tokens: a batch of prompts is
padded on the right, attention is masked beyond a row's own position, and the next token overwrites the padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmlab import LabError
from lmlab.model.documents import document_starts
from lmlab.model.ngrams import ABSENT


@dataclass
class LayerCache:
    """One layer's part of the cache during a forward pass over new tokens."""

    keys: Float[Tensor, "batch length kv_heads width"]
    values: Float[Tensor, "batch length kv_heads width"]
    positions: Int[Tensor, "rows new"]
    visible: Bool[Tensor, "masks 1 new past"]

    def extend(
        self, keys: Float[Tensor, "batch new kv_heads width"], values: Float[Tensor, "batch new kv_heads width"]
    ) -> tuple[
        Bool[Tensor, "masks 1 new past"],
        Float[Tensor, "batch past kv_heads width"],
        Float[Tensor, "batch past kv_heads width"],
    ]:
        """Write the new keys and values. Return the attention mask of the new tokens, and all keys and values so far."""
        rows = torch.arange(keys.shape[0], device=keys.device).unsqueeze(1)
        self.keys[rows, self.positions] = keys.to(self.keys.dtype)
        self.values[rows, self.positions] = values.to(self.values.dtype)
        past = self.visible.shape[-1]
        return self.visible, self.keys[:, :past].to(keys.dtype), self.values[:, :past].to(values.dtype)


class KVCache:
    """Keys and values of all layers for a batch of rows, of which `held[row]` tokens have been read.

    `recent` are the last tokens of each row that the n-grams ending at the next token need, ABSENT where there were fewer. `starts`
    is the position at which each row's document begins, if attention doesn't reach across documents.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        length: int,
        heads: int,
        width: int,
        device: torch.device,
        dtype: torch.dtype,
        recent: int = 0,
        boundary: int | None = None,
    ) -> None:
        # Zeros, because entries that were never written are multiplied by a weight of zero, and NaN x 0 is NaN.
        self.keys = torch.zeros(layers, batch, length, heads, width, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.recent = torch.full((batch, recent), ABSENT, device=device)
        self.boundary = boundary
        self.starts = torch.zeros(batch, device=device, dtype=torch.long)
        self.held = [0] * batch

    @property
    def length(self) -> int:
        """Capacity in tokens a row."""
        return self.keys.shape[2]

    def positions(self, new: int) -> Int[Tensor, "rows new"]:
        """Return the positions of the next `new` tokens of each row; a single row if all rows hold equally many."""
        if max(self.held) + new > self.length:
            raise LabError(
                f"the cache holds at most {self.length} tokens a row, but {max(self.held)} + {new} were to be held"
            )
        starts = self.held[:1] if len(set(self.held)) == 1 else self.held
        device = self.keys.device
        return torch.tensor(starts, device=device).unsqueeze(1) + torch.arange(new, device=device)

    def layers(self, positions: Int[Tensor, "rows new"], tokens: Int[Tensor, "batch new"]) -> list[LayerCache]:
        """Return a view of the cache for each layer, for new tokens at `positions`."""
        past = torch.arange(max(self.held) + positions.shape[1], device=positions.device)
        visible = past <= positions.unsqueeze(-1)
        if self.boundary is not None:
            starts = document_starts(tokens, positions, self.boundary, self.starts)
            visible = visible & (past >= starts.unsqueeze(-1))
        visible = visible.unsqueeze(1)
        return [
            LayerCache(keys, values, positions, visible) for keys, values in zip(self.keys, self.values, strict=True)
        ]

    def advance(self, tokens: Int[Tensor, "batch new"], lengths: Sequence[int]) -> None:
        """Count the first `lengths[row]` of a row's new tokens as held."""
        if self.boundary is not None:
            starts = document_starts(tokens, self.positions(tokens.shape[1]), self.boundary, self.starts)
            last = torch.tensor(lengths, device=starts.device).unsqueeze(1) - 1
            self.starts = starts.gather(1, last).squeeze(1)
        self.held = [held + new for held, new in zip(self.held, lengths, strict=True)]
        kept = self.recent.shape[1]
        if kept:
            # The last tokens of old and new ones together lie `lengths[row]` places after the last old ones.
            device = self.recent.device
            places = torch.tensor(lengths, device=device).unsqueeze(1) + torch.arange(kept, device=device)
            self.recent = torch.cat((self.recent, tokens.to(self.recent.dtype)), dim=1).gather(1, places)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row that is named twice is duplicated."""
        chosen = torch.tensor(rows, device=self.keys.device, dtype=torch.long)
        self.keys, self.values = self.keys[:, chosen], self.values[:, chosen]
        self.starts, self.recent = self.starts[chosen], self.recent[chosen]
        self.held = [self.held[row] for row in rows]

    def join(self, other: "KVCache") -> None:
        """Add the rows of another cache of the same model and length, after the own ones."""
        self.keys = torch.cat((self.keys, other.keys), dim=1)
        self.values = torch.cat((self.values, other.values), dim=1)
        self.starts, self.recent = torch.cat((self.starts, other.starts)), torch.cat((self.recent, other.recent))
        self.held = [*self.held, *other.held]
