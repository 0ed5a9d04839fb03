"""The smallest schedule: the peak rate, then one step down to the floor in the middle."""

from dataclasses import dataclass
from typing import Literal

from lmlab.recipe.setting import setting


@dataclass(frozen=True, kw_only=True)
class Halves:
    """The settings in a recipe."""

    kind: Literal["halves"] = "halves"
    steps: int | None = setting(None, at_least=1)
    warmup: int = setting(0, at_least=0)
    warmup_from: float | None = setting(None, at_least=0.0, at_most=1.0)
    start: int = setting(0, at_least=0)
    floor: float = setting(0.1, at_least=0.0, at_most=1.0)


def halves(schedule, span, step):
    """The curve after the warm-up."""
    return 1.0 if step < span / 2 else schedule.floor
