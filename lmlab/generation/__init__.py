"""Text from a trained model: settings, filters on the logits, reproducible draws, the decoding loop, conversations.

Names are looked up on first use, so that importing this package doesn't import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmlab.generation.chat import Conversation
    from lmlab.generation.decoding import generate
    from lmlab.generation.settings import Sampling
    from lmlab.generation.writer import Completion

_HOMES = {
    "Completion": "writer",
    "Conversation": "chat",
    "Sampling": "settings",
    "generate": "decoding",
}

__all__ = ["Completion", "Conversation", "Sampling", "generate"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lmlab.generation' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"lmlab.generation.{_HOMES[name]}"), name)
