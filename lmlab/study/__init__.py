"""Settings found by measuring: the learning rate of a recipe, from short real trainings. Names are looked up on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.study.result import Tuning
    from lmlab.study.tuning import tune

__all__ = ["Tuning", "tune"]

__getattr__ = lazily(__name__, {"Tuning": "result", "tune": "tuning"})
