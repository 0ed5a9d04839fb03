"""Evaluation of a model: losses over a whole split, or over a fixed sample of it, by token, byte and unit.

Names are imported on first use, so that importing this package doesn't import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.evaluation.gap import loss_gap
    from lmlab.evaluation.losses import EvaluationStopped, Scoring, evaluate_sample, evaluate_split, tokens_in_sample
    from lmlab.evaluation.result import Evaluation
    from lmlab.evaluation.sample import choose_units

__all__ = [
    "Evaluation",
    "EvaluationStopped",
    "Scoring",
    "choose_units",
    "evaluate_sample",
    "evaluate_split",
    "loss_gap",
    "tokens_in_sample",
]

__getattr__ = lazily(
    __name__,
    {
        "Evaluation": "result",
        "EvaluationStopped": "losses",
        "Scoring": "losses",
        "choose_units": "sample",
        "evaluate_sample": "losses",
        "evaluate_split": "losses",
        "loss_gap": "gap",
        "tokens_in_sample": "losses",
    },
)
