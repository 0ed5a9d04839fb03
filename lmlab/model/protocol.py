"""What training, evaluation and generation ask of a language model, whatever its family.

Tokens are integers below `vocabulary`; logits are nats before normalisation; a decoding state is what the model keeps
of the tokens that it has read (a transformer's keys and values, a recurrent model's vectors).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor


class DecodingState(Protocol):
    """What a model keeps of each row's tokens while it decodes."""

    held: list[int]
    """How many tokens of each row have been read."""

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; a row that is named twice is copied."""


class LanguageModel(Protocol):
    """A model that predicts the next token."""

    vocabulary: int
    context: int
    training: bool

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def __call__(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        """Logits of the token after each position."""

    def loss_sum(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """The sum of nats over the targets that aren't -100."""

    def start_cache(self, batch: int, length: int) -> Any:
        """A DecodingState that has read nothing, with room for `length` tokens a row."""

    def advance(
        self, tokens: Int[Tensor, "batch new"], cache: Any, lengths: Sequence[int] | None = None
    ) -> Float[Tensor, "batch vocabulary"]:
        """Read new tokens, of each row the first `lengths[row]` (default: all); logits of the token after the last."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""
