"""How good a model is: losses over a whole split, or over a fixed sample of it, by token, byte and unit.

Names are looked up on first use, so that importing this package doesn't import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmlab.evaluation.losses import EvaluationStopped, evaluate_sample, evaluate_split
    from lmlab.evaluation.result import Evaluation
    from lmlab.evaluation.sample import choose_units

_HOMES = {
    "Evaluation": "result",
    "EvaluationStopped": "losses",
    "choose_units": "sample",
    "evaluate_sample": "losses",
    "evaluate_split": "losses",
}

__all__ = ["Evaluation", "EvaluationStopped", "choose_units", "evaluate_sample", "evaluate_split"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lmlab.evaluation' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"lmlab.evaluation.{_HOMES[name]}"), name)
