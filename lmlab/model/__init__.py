"""Models: a GPT decoder, its initial values, its key-value cache, and what it costs.

Names are looked up on first use: `shapes`, `cost` and `memory` are arithmetic and must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.model.cache import KVCache
    from lmlab.model.cost import Flops, flops_per_token, palm_flops_per_token, parameters
    from lmlab.model.gpt import GPTModel, build_model
    from lmlab.model.initial import initialise
    from lmlab.model.loss import loss_sum, token_losses
    from lmlab.model.memory import activation_bytes
    from lmlab.model.protocol import DecodingState, LanguageModel

__all__ = [
    "DecodingState",
    "Flops",
    "GPTModel",
    "KVCache",
    "LanguageModel",
    "activation_bytes",
    "build_model",
    "flops_per_token",
    "initialise",
    "loss_sum",
    "palm_flops_per_token",
    "parameters",
    "token_losses",
]

__getattr__ = lazily(
    __name__,
    {
        "DecodingState": "protocol",
        "Flops": "cost",
        "GPTModel": "gpt",
        "KVCache": "cache",
        "LanguageModel": "protocol",
        "activation_bytes": "memory",
        "build_model": "gpt",
        "flops_per_token": "cost",
        "initialise": "initial",
        "loss_sum": "loss",
        "palm_flops_per_token": "cost",
        "parameters": "cost",
        "token_losses": "loss",
    },
)
