"""Optimizers: learning-rate schedules, AdamW, Muon and gradient clipping.

Names are imported on first use: `rate_share` and `clip_limit` are arithmetic and need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.optim.build import TrainingOptimizer, build_optimizer, optimizer_of
    from lmlab.optim.clip import clip_gradients, gradient_norm
    from lmlab.optim.limit import clip_limit
    from lmlab.optim.schedule import rate_share

__all__ = [
    "TrainingOptimizer",
    "build_optimizer",
    "clip_gradients",
    "clip_limit",
    "gradient_norm",
    "optimizer_of",
    "rate_share",
]

__getattr__ = lazily(
    __name__,
    {
        "TrainingOptimizer": "build",
        "build_optimizer": "build",
        "clip_gradients": "clip",
        "clip_limit": "limit",
        "gradient_norm": "clip",
        "optimizer_of": "build",
        "rate_share": "schedule",
    },
)
