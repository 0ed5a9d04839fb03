"""The learning-rate schedule: fields only; `lmlab.optim.schedule` has the formulas."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from lmlab.recipe.setting import setting


@runtime_checkable
class Schedule(Protocol):
    """What the settings of every schedule have: a frozen dataclass with these fields, and any others of its own."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def kind(self) -> str:
        """The schedule: a Literal with one value, which is also the default."""

    @property
    def steps(self) -> int | None:
        """Steps that the schedule spans (none: train.steps). No field of a schedule that spans no number of steps."""

    @property
    def warmup(self) -> int:
        """Steps of linear warm-up."""

    @property
    def warmup_from(self) -> float | None:
        """The rate of the warm-up's first step, as a share of the peak; none: near zero, 1 / (warmup + 1)."""

    @property
    def start(self) -> int:
        """The step from which the schedule counts: above 0 if a branched run warms up again."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The peak rate throughout."""

    steps: ClassVar[int | None] = None

    kind: Literal["constant"] = "constant"
    """The schedule."""
    warmup: int = setting(0, at_least=0)
    """Steps of linear warm-up."""
    warmup_from: float | None = setting(None, at_least=0.0, at_most=1.0, came_later=True)
    """The rate of the warm-up's first step, as a share of the peak; none: near zero, 1 / (warmup + 1)."""
    start: int = setting(0, at_least=0)
    """The step from which the schedule counts: above 0 if a branched run warms up again."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Warm-up, then a straight line to the floor."""

    kind: Literal["linear"] = "linear"
    """The schedule."""
    steps: int | None = setting(None, at_least=1)
    """Steps that the schedule spans (none: train.steps)."""
    warmup: int = setting(0, at_least=0)
    """Steps of linear warm-up."""
    warmup_from: float | None = setting(None, at_least=0.0, at_most=1.0, came_later=True)
    """The rate of the warm-up's first step, as a share of the peak; none: near zero, 1 / (warmup + 1)."""
    start: int = setting(0, at_least=0)
    """The step from which the schedule counts: above 0 if a branched run warms up again."""
    floor: float = setting(0.0, at_least=0.0, at_most=1.0)
    """The last rate, as a share of the peak."""


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Warm-up, then half a cosine to the floor."""

    kind: Literal["cosine"] = "cosine"
    """The schedule."""
    steps: int | None = setting(None, at_least=1)
    """Steps that the schedule spans (none: train.steps)."""
    warmup: int = setting(0, at_least=0)
    """Steps of linear warm-up."""
    warmup_from: float | None = setting(None, at_least=0.0, at_most=1.0, came_later=True)
    """The rate of the warm-up's first step, as a share of the peak; none: near zero, 1 / (warmup + 1)."""
    start: int = setting(0, at_least=0)
    """The step from which the schedule counts: above 0 if a branched run warms up again."""
    floor: float = setting(0.1, at_least=0.0, at_most=1.0)
    """The last rate, as a share of the peak."""


@dataclass(frozen=True, kw_only=True)
class WSD:
    """Warm-up, stable, decay (arXiv 2405.18392): the peak rate until the last part, then a straight line to the floor."""

    kind: Literal["wsd"] = "wsd"
    """The schedule."""
    steps: int | None = setting(None, at_least=1)
    """Steps that the schedule spans (none: train.steps)."""
    warmup: int = setting(0, at_least=0)
    """Steps of linear warm-up."""
    warmup_from: float | None = setting(None, at_least=0.0, at_most=1.0, came_later=True)
    """The rate of the warm-up's first step, as a share of the peak; none: near zero, 1 / (warmup + 1)."""
    start: int = setting(0, at_least=0)
    """The step from which the schedule counts: above 0 if a branched run warms up again."""
    decay: float = setting(0.4, at_least=0.0, at_most=1.0)
    """The share of the steps over which the rate falls."""
    floor: float = setting(0.0, at_least=0.0, at_most=1.0)
    """The last rate, as a share of the peak."""


def has_span(schedule: Schedule) -> bool:
    """Return whether the schedule spans a number of steps, so that it has a setting `steps`."""
    return any(entry.name == "steps" for entry in dataclasses.fields(schedule))
