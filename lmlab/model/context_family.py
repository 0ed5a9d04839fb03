"""The family of context-propagation models."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from lmlab import LabError
from lmlab.model.context_cost import block_multiplications, context_bytes, context_parameters
from lmlab.model.family import Family
from lmlab.recipe.model import Context
from lmlab.scaling.transfer_context import ContextTransfer, context_transfer

if TYPE_CHECKING:
    import torch

    from lmlab.model.context import ContextModel

NARROWER = 4
"""The factor by which a model for tuning is narrower."""
TOKENS_IN_A_RECURRENT_PASS = 1 << 17
"""Tokens of a GPU's micro-batch: one time step is computed for all sequences at once, and so needs many of them."""


class ContextFamily(Family):
    """Recurrent models whose state is a vector that each token updates: `context.py`."""

    settings = Context
    size_settings = ("layers", "hidden", "vector")
    recurrent = True
    uncompilable = "a model of kind context has its loop over time written out, which compiling would only unroll"
    shared_gpu_pass_tokens = TOKENS_IN_A_RECURRENT_PASS

    def build(self, model: Context, vocabulary: int) -> ContextModel:
        """See `Family`."""
        from lmlab.model.context import ContextModel

        return ContextModel(model, vocabulary)

    def initial_values(
        self, model: Context, name: str, shape: tuple[int, ...], seed: int, transfer_from: tuple[int, ...]
    ) -> torch.Tensor:
        """See `Family` and `context_initial.py`."""
        from lmlab.model.context_initial import context_values

        return context_values(model, name, shape, seed, self.transfer(model, transfer_from))

    def parameters(self, model: Context, vocabulary: int) -> dict[str, int]:
        """See `Family`."""
        return context_parameters(model, vocabulary)

    def forward_multiplications(self, model: Context, vocabulary: int, window: int, causal: bool) -> float:
        """Return the multiplications of a token, which don't depend on the window.

        The first layer counts in full, even if the embedding's part is looked up.
        """
        return block_multiplications(model) + model.hidden * vocabulary

    def saved_bytes(self, model: Context, vocabulary: int, micro_batch: int, element_bytes: int, device: str) -> int:
        """See `Family`; the same on CPU and GPU."""
        return context_bytes(model, vocabulary, micro_batch, element_bytes)

    def head_inputs(self, model: Context) -> int:
        """See `Family`."""
        return model.hidden

    def product_width(self, model: Context) -> int:
        """See `Family`."""
        return model.hidden

    def transfer(self, model: Context, transfer_from: tuple[int, ...]) -> ContextTransfer:
        """See `lmlab.scaling.transfer_context`."""
        return context_transfer(model, transfer_from)

    def unsupported(self, model: Context) -> str | None:
        """Return why the native engine doesn't support this model's recurrence; None if it does."""
        from lmlab.model.recurrence_native import unsupported_recurrence

        return unsupported_recurrence(model)

    def narrowed(self, model: Context) -> tuple[Context, tuple[int, ...]]:
        """Return a narrower model; the embedding stays, whose width the transfer rule doesn't cover. LabError if it's too small."""
        if min(model.hidden, model.vector) < NARROWER:
            raise LabError(
                f"--size small needs {NARROWER} numbers or more, but model.hidden is {model.hidden} and model.vector "
                f"{model.vector}: tune the model itself (--size own)"
            )
        small = dataclasses.replace(model, hidden=model.hidden // NARROWER, vector=model.vector // NARROWER)
        return small, (model.hidden, model.layers, model.vector)

    def size_words(self, model: Context) -> str:
        """See `Family`."""
        return f"hidden width {model.hidden} (vector {model.vector})"
