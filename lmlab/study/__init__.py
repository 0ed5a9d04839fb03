"""Experiments of many runs: learning-rate searches and comparisons of runs. Names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.study.comparison import Asked, Comparison, compare
    from lmlab.study.result import Tuning
    from lmlab.study.tuning import tune

__all__ = ["Asked", "Comparison", "Tuning", "compare", "tune"]

__getattr__ = lazily(
    __name__,
    {"Asked": "comparison", "Comparison": "comparison", "Tuning": "result", "compare": "comparison", "tune": "tuning"},
)
