"""The family of GPT decoders."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from lmlab import LabError
from lmlab.model.family import Family
from lmlab.model.gpt_cost import attention_multiplications, gpt_multiplications, gpt_parameters
from lmlab.model.gpt_memory import gpt_bytes
from lmlab.model.gpt_shapes import hidden_width, loss_chunk, qkv_width, up_width
from lmlab.recipe.model import GPT
from lmlab.recipe.sizes import DEPTH_POWER
from lmlab.scaling.transfer import Transfer, transfer

if TYPE_CHECKING:
    import torch

    from lmlab.model.gpt import GPTModel

HEAD_WIDTHS = (32, 64, 128)
NARROWER = 4
"""The factor by which a model for tuning is narrower; smaller if the heads aren't divisible by it."""
HEAD_WIDTH_LEAST = 8
HEAD_WIDTH_STEP = 4


class GPTFamily(Family):
    """Pre-norm decoder-only transformers: `gpt.py`."""

    settings = GPT
    size_settings = ("layers", "heads", "width", "kv_heads", "hidden")
    follows_published_laws = True
    engine_computes_step = True

    def build(self, model: GPT, vocabulary: int) -> GPTModel:
        """See `Family`."""
        from lmlab.model.gpt import GPTModel

        return GPTModel(model, vocabulary)

    def initial_values(
        self, model: GPT, name: str, shape: tuple[int, ...], seed: int, transfer_from: tuple[int, ...]
    ) -> torch.Tensor:
        """See `Family` and `gpt_initial.py`."""
        from lmlab.model.gpt_initial import gpt_values

        return gpt_values(model, name, shape, seed, self.transfer(model, transfer_from))

    def parameters(self, model: GPT, vocabulary: int) -> dict[str, int]:
        """See `Family`."""
        return gpt_parameters(model, vocabulary)

    def forward_multiplications(self, model: GPT, vocabulary: int, window: int, causal: bool) -> float:
        """See `Family`."""
        return gpt_multiplications(model, vocabulary, (window + 1) / 2 if causal else window)

    def attention_multiplications(self, model: GPT, window: float) -> float:
        """See `Family`."""
        return model.layers * attention_multiplications(model, window)

    def saved_bytes(self, model: GPT, vocabulary: int, micro_batch: int, element_bytes: int, device: str) -> int:
        """See `Family` and `gpt_memory.py`."""
        return gpt_bytes(model, vocabulary, micro_batch, element_bytes, device)

    def linear_layers(self, model: GPT) -> dict[str, tuple[int, int]]:
        """See `Family`: the four matrices of each block."""
        of_block = {
            "attention.qkv": (qkv_width(model), model.width),
            "attention.projection": (model.width, model.width),
            "mlp.up": (up_width(model), model.width),
            "mlp.down": (model.width, hidden_width(model)),
        }
        return {f"blocks.{layer}.{name}": shape for layer in range(model.layers) for name, shape in of_block.items()}

    def loss_chunk(self, vocabulary: int, tokens: int, device: str) -> int | None:
        """See `Family` and `head_loss.py`."""
        return loss_chunk(tokens, vocabulary, device)

    def fewest_layers(self, model: GPT) -> int:
        """Return 2 if the first layer lacks a part of the later ones, which mix in its values or the embedding."""
        return 2 if model.value_residual or model.embedding_skip else 1

    def transfer(self, model: GPT, transfer_from: tuple[int, ...]) -> Transfer:
        """See `lmlab.scaling.transfer`."""
        return transfer(model.width, model.layers, transfer_from)

    def unsupported(self, model: GPT) -> str | None:
        """See `Family`."""
        from lmlab.model.native import unsupported_gpt

        return unsupported_gpt(model)

    def resized(self, model: GPT, width: int) -> GPT:
        """Return `model` at this width, a multiple of 32, and the depth that follows from it: layers x (width ratio) ^ 0.67.

        Heads are 32, 64 or 128 wide, whichever divides the width and is nearest to the model's own. All other settings stay:
        context, norms, ties, tables, the ratio of key heads.
        """
        heads = width // _head_width(model, width)
        return dataclasses.replace(
            model,
            width=width,
            layers=max(1, round(model.layers * (width / model.width) ** DEPTH_POWER)),
            heads=heads,
            kv_heads=None if model.kv_heads is None else _key_heads(heads, model.kv_heads / model.heads),
            hidden=None if model.hidden is None else 8 * max(1, round(model.hidden * width / model.width / 8)),
        )

    def narrower(self, model: GPT, share: float) -> GPT:
        """Return `model` at about this share of its width: fewer heads of about the same width, and key heads to match."""
        if share >= 1:
            return model
        group = model.heads // (model.kv_heads or model.heads)
        heads = max(1, round(model.heads * share / group)) * group
        head = max(HEAD_WIDTH_LEAST, round(model.width * share / heads / HEAD_WIDTH_STEP) * HEAD_WIDTH_STEP)
        return dataclasses.replace(
            model,
            heads=heads,
            width=heads * head,
            kv_heads=None if model.kv_heads is None else heads // group,
            hidden=None if model.hidden is None else max(1, round(model.hidden * heads * head / model.width)),
        )

    def narrowed(self, model: GPT) -> tuple[GPT, tuple[int, ...]]:
        """Return `model` with a quarter of its heads, or a third or half, of the same width. LabError if they can't be divided."""
        groups = model.heads if model.kv_heads is None else model.kv_heads
        shares = [share for share in range(NARROWER, 1, -1) if model.heads % share == 0 and groups % share == 0]
        if not shares:
            raise LabError(
                f"--size small needs heads that can be divided by 2 to {NARROWER}, but model.heads is {model.heads}"
                + ("" if model.kv_heads is None else f" and model.kv_heads {model.kv_heads}")
                + ": tune the model itself (--size own)"
            )
        share = shares[0]
        small = dataclasses.replace(
            model,
            width=model.width // share,
            heads=model.heads // share,
            kv_heads=None if model.kv_heads is None else groups // share,
            hidden=None if model.hidden is None else max(1, model.hidden // share),
        )
        return small, (model.width,)

    def size_words(self, model: GPT) -> str:
        """See `Family`."""
        return f"width {model.width} ({model.heads} heads)"


def _head_width(own: GPT, width: int) -> int:
    """Return the one of HEAD_WIDTHS that divides the width and whose ratio to the model's own is nearest to 1."""
    wish = own.width / own.heads
    return min(
        (head for head in HEAD_WIDTHS if width % head == 0),
        key=lambda head: (abs(math.log(head / wish)), head),
    )


def _key_heads(heads: int, share: float) -> int:
    return min(
        (count for count in range(1, heads + 1) if heads % count == 0), key=lambda count: abs(count - share * heads)
    )
