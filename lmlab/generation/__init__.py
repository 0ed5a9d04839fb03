"""Text generation: sampling settings, logit filters, reproducible sampling, the decoding loop, conversations.

Names are imported on first use, so that importing this package doesn't import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.generation.chat import Conversation
    from lmlab.generation.decoding import generate
    from lmlab.generation.settings import Sampling
    from lmlab.generation.writer import Completion

__all__ = ["Completion", "Conversation", "Sampling", "generate"]

__getattr__ = lazily(
    __name__,
    {
        "Completion": "writer",
        "Conversation": "chat",
        "Sampling": "settings",
        "generate": "decoding",
    },
)
