"""The interface of language models of any kind for training, evaluation and generation.

Tokens are integers below `vocabulary`; logits are unnormalised log-probabilities in nats; a decoding state is what the model keeps
of the tokens that it has read (a transformer's keys and values, a recurrent model's vectors).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor


class DecodingState(Protocol):
    """The state of decoding a batch of rows."""

    held: list[int]
    """Number of tokens of each row that have been read."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row that is named twice is duplicated."""

    def join(self, other: Any) -> None:
        """Add the rows of another state of the same model and length, after the own ones."""


class LanguageModel(Protocol):
    """A model that predicts the next token."""

    vocabulary: int
    context: int
    training: bool

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""

    def __call__(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        """Return the logits of the token after each position."""

    def loss_sum(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Return the sum of nats over the targets that aren't -100."""

    def start_cache(self, batch: int, length: int) -> Any:
        """Return an empty `DecodingState` for `batch` rows of at most `length` tokens."""

    def advance(
        self, tokens: Int[Tensor, "batch new"], cache: Any, lengths: Sequence[int] | None = None
    ) -> Float[Tensor, "batch vocabulary"]:
        """Read the first `lengths[row]` new tokens of each row (default: all); return the logits of the token after the last."""

    def train(self, mode: bool = True) -> Any:
        """Set training mode (dropout on) or evaluation mode."""
