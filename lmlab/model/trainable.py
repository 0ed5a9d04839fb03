"""The base class of the models that a recipe can describe."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab import LabError
from lmlab.model.families import family_of
from lmlab.model.layers import Embedding
from lmlab.model.loss import loss_sum, token_losses
from lmlab.scaling.transfer import TransferRule


class TrainableModel(nn.Module, ABC):
    """A `LanguageModel` with a recipe's settings as `config`, and modules called `embedding`, `blocks` and `norm`.

    A subclass creates these modules and implements `forward`, `start_cache` and `advance`. Muon updates the matrices of `blocks`.
    """

    embedding: Embedding
    blocks: nn.ModuleList
    norm: nn.Module
    scores_in_chunks: bool = False
    """Whether `scores` computes logits chunk by chunk, so that they don't bound a batch."""

    def __init__(self, config: Any, vocabulary: int) -> None:
        """`config` is a `lmlab.recipe.model.Model`: the settings of this model's family."""
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.context: int = config.context
        self.engine: Literal["auto", "torch"] = "auto"
        """auto: the native engine computes what it supports of this model; torch: PyTorch computes everything."""
        self.sharded = False
        """Whether each of several processes holds a part of the parameters."""
        self.engine_identity = ""
        """Build of the native engine to use; empty: the newest."""

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        return self.embedding.weight.device

    def loss_sum(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Return the sum of nats over the targets that aren't -100."""
        return loss_sum(self(tokens), targets)

    def scores(
        self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        """Return the nats of each target, at least in float32, and whether it has the largest logit."""
        logits = self(tokens)
        return token_losses(logits, targets), logits.argmax(dim=-1) == targets

    @abstractmethod
    def start_cache(self, batch: int, length: int) -> Any:
        """Return an empty `DecodingState` for `batch` rows of at most `length` tokens. LabError if `length` exceeds the context."""

    @abstractmethod
    def advance(
        self, tokens: Int[Tensor, "batch new"], cache: Any, lengths: Sequence[int] | None = None
    ) -> Float[Tensor, "batch vocabulary"]:
        """Read new tokens and update `cache`; return the logits of the token after each row's last one.

        `lengths[row]` is the number of a row's tokens that count, at least 1 (default: all); the rest is padding.
        """

    def transfer_rule(self, transfer_from: tuple[int, ...]) -> TransferRule:
        """Return the factors of each parameter's settings, from the sizes at which they were tuned to those of this model."""
        return family_of(self.config).transfer(self.config, transfer_from)

    def watched_modules(self) -> dict[str, nn.Module]:
        """Return the modules whose outputs are noted at a spike, by display name."""
        blocks = {f"block {number}": block for number, block in enumerate(self.blocks, 1)}
        return {"embedding": self.embedding, "final norm": self.norm, **blocks}

    def layer_outputs(self, tokens: Int[Tensor, "batch time"]) -> dict[str, Float[Tensor, "time batch _"]]:
        """Return outputs that no module of `watched_modules` has, by display name; computed in a pass of their own."""
        return {}

    def has_engine(self) -> bool:
        """Return whether the native engine of `engine_identity` is on this machine, if it computes a part of this model."""
        return True

    def require_length(self, length: int) -> None:
        """Raise LabError if a cache of `length` tokens exceeds the context."""
        if length > self.context:
            raise LabError(f"a cache of {length} tokens is longer than the model's context of {self.context}")
