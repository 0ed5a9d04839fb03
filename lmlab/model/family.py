"""The interface of a model family: construction, initial values, counts of parameters and FLOPs, and which features support it.

A family belongs to a dataclass of settings in a recipe. `Family` states what each one must have and the defaults of the rest;
`families.py` is the registry. No torch is imported here, since costs are asked for where nothing is computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from lmlab import LabError
from lmlab.scaling.transfer import Transfer, TransferRule

if TYPE_CHECKING:
    import torch

    from lmlab.model.trainable import TrainableModel

TOKENS_IN_A_SHARED_PASS = 16_384
"""Default tokens of a micro-batch on a GPU without memory of its own: enough to saturate it, and a small part of the memory."""


class Family(ABC):
    """A model family. The arguments `model` are its settings, of the type `settings`.

    Sizes are per token of a window unless stated; a multiply-add counts as one multiplication.
    """

    settings: ClassVar[type]
    """The dataclass that describes its models in a recipe."""
    size_settings: ClassVar[tuple[str, ...]] = ("layers", "width")
    """The settings that determine a model's size, by their names in the recipe's model section."""
    follows_published_laws: ClassVar[bool] = False
    """Whether the loss laws that were published of transformers, and that of lmlab's small runs, hold for it."""
    engine_computes_step: ClassVar[bool] = False
    """Whether the native engine computes the whole training step where it supports a model, and not only a part of it."""
    recurrent: ClassVar[bool] = False
    """Whether a window's tokens are computed one after the other."""
    uncompilable: ClassVar[str | None] = None
    """Why torch.compile isn't supported; None if it is."""
    shared_gpu_pass_tokens: ClassVar[int] = TOKENS_IN_A_SHARED_PASS
    """Default tokens of a micro-batch on a GPU that shares the machine's memory, at most."""

    @abstractmethod
    def build(self, model: Any, vocabulary: int) -> TrainableModel:
        """Return the model with uninitialised parameters, on torch's default device."""

    @abstractmethod
    def initial_values(
        self, model: Any, name: str, shape: tuple[int, ...], seed: int, transfer_from: tuple[int, ...]
    ) -> torch.Tensor:
        """Return the initial values of the parameter called `name`: a pure function of the arguments, float32 on the CPU."""

    @abstractmethod
    def parameters(self, model: Any, vocabulary: int) -> dict[str, int]:
        """Return the number of parameters by part: see `lmlab.model.cost.parameters`."""

    @abstractmethod
    def forward_multiplications(self, model: Any, vocabulary: int, window: int, causal: bool) -> float:
        """Return the multiplications of the forward pass: see `lmlab.model.cost.flops_per_token`."""

    @abstractmethod
    def saved_bytes(self, model: Any, vocabulary: int, micro_batch: int, element_bytes: int, device: str) -> int:
        """Return the bytes saved for backward: see `lmlab.model.cost.activation_bytes`."""

    def linear_layers(self, model: Any) -> dict[str, tuple[int, int]]:
        """Return name -> (outputs, inputs) of the linear layers that can have low-rank adapters; empty if none can."""
        return {}

    def loss_chunk(self, vocabulary: int, tokens: int, device: str) -> int | None:
        """Return for how many tokens at a time the loss of a pass of `tokens` computes logits; None if for all of them."""
        return None

    def head_inputs(self, model: Any) -> int:
        """Return the width of the vectors that the head reads."""
        return int(model.width)

    def product_width(self, model: Any) -> int:
        """Return the width of most matrix products, on which their speed depends."""
        return int(model.width)

    def attention_multiplications(self, model: Any, window: float) -> float:
        """Return the multiplications of scores and weighted values over `window` positions, for PaLM's formula."""
        return 0.0

    def fewest_layers(self, model: Any) -> int:
        """Return the smallest number of layers from which each additional layer costs the same."""
        return 1

    def transfer(self, model: Any, transfer_from: tuple[int, ...]) -> TransferRule:
        """Return the factors of each parameter at a size other than that of `transfer_from`, which is empty without a rule."""
        return Transfer()

    def unsupported(self, model: Any) -> str | None:
        """Return why the native engine doesn't support this model; None if it does."""
        return f"it computes no model of kind {model.kind}"

    def resized(self, model: Any, width: int) -> Any:
        """Return settings in the style of `model` at about another width and the depth for it. LabError without a rule."""
        raise LabError(
            f"smaller and larger shapes exist for model.kind gpt, not for {model.kind}: plan this recipe without a budget"
        )

    def narrower(self, model: Any, share: float) -> Any:
        """Return `model` at about this share of its width and the same depth, for a ladder. LabError without a rule."""
        raise LabError(
            f"a ladder of narrower models is for model.kind gpt, not for {model.kind}: plan without --ladder"
        )

    def narrowed(self, model: Any) -> tuple[Any, tuple[int, ...]]:
        """Return a model of a fraction of the width for tuning, and the `optim.transfer_from` that scales it to `model`."""
        raise LabError(f"--size small has no rule for model.kind {model.kind}: tune the model itself (--size own)")

    @property
    def resizes(self) -> bool:
        """Whether there are rules for smaller and larger models: `resized` and `narrower`."""
        return type(self).resized is not Family.resized

    def size_words(self, model: Any) -> str:
        """Describe a model's width."""
        return f"width {model.width}"
