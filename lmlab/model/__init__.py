"""Models: a GPT decoder and a context-propagation model, their initialisation, decoding states, and costs.

Names are imported on first use: `shapes`, `cost` and `memory` are arithmetic and must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.model.build import build_model
    from lmlab.model.cache import KVCache
    from lmlab.model.context import ContextModel
    from lmlab.model.cost import Flops, flops_per_token, palm_flops_per_token, parameters
    from lmlab.model.gpt import GPTModel
    from lmlab.model.initial import initialise
    from lmlab.model.loss import loss_sum, token_losses
    from lmlab.model.memory import activation_bytes
    from lmlab.model.protocol import DecodingState, LanguageModel
    from lmlab.model.trainable import TrainableModel

__all__ = [
    "ContextModel",
    "DecodingState",
    "Flops",
    "GPTModel",
    "KVCache",
    "LanguageModel",
    "TrainableModel",
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
        "ContextModel": "context",
        "DecodingState": "protocol",
        "Flops": "cost",
        "GPTModel": "gpt",
        "KVCache": "cache",
        "LanguageModel": "protocol",
        "TrainableModel": "trainable",
        "activation_bytes": "memory",
        "build_model": "build",
        "flops_per_token": "cost",
        "initialise": "initial",
        "loss_sum": "loss",
        "palm_flops_per_token": "cost",
        "parameters": "cost",
        "token_losses": "loss",
    },
)
