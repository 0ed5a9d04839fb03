"""What is known of a run that was stopped early: its loss is censored.

Leaving such runs out would take a cell's mean over the runs that were good enough to be kept, and would lose the effects of the
worst cells. What is known of a stopped run is where its curve was heading, E, and the lower limit L of that interval of 80%: its
loss at the end is at most once in ten below L. It is treated as censored from below, as runs that were cut short are in Hutter,
Hoos and Leyton-Brown 2013 (Bayesian optimization with censored response data, arXiv 1310.1947):

    standard deviation of what is known of its loss:   (E - L) / 1.2816

since the forecast's tail is that of a normal distribution (`scaling.curve`).

E and L are of the sample that is scored during a training, in nats a token; losses of a study are of the whole split. They are
multiplied by the ratio of both in the finished runs, whose spread is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lmlab.scaling.estimate import NORMAL_QUANTILE


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Where a run was heading when it was stopped: nats a token of the sample that is scored during the training."""

    step: int
    """Of the evaluation after which it was stopped."""
    expected: float
    low: float
    """The lower limit of an interval of 80%."""

    def to_json(self) -> dict[str, Any]:
        """For study.json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A run's loss at its end in the measure of the study, and how well it is known."""

    value: float
    deviation: float = 0.0
    """0 for a run that is finished."""


def stopped_from(value: Mapping[str, Any] | None) -> Stopped | None:
    """What was noted of it (`study.pruning_runs`), or stands in study.json; None where that has no such figures."""
    try:
        found = Stopped(step=int(value["step"]), expected=float(value["expected"]), low=float(value["low"]))  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
    return found if 0.0 < found.low <= found.expected < math.inf else None


def heading_of(stopped: Stopped, ratios: Sequence[float]) -> Heading | None:
    """The same in the study's measure; None without a finished run.

    `ratios` are, of finished runs with the same tokens, the loss over the whole split in that measure against the one of the last
    evaluation while they trained.
    """
    if not ratios:
        return None
    ratio = float(np.mean(ratios))
    spread = float(np.std(ratios, ddof=1)) * math.sqrt(1.0 + 1.0 / len(ratios)) if len(ratios) > 1 else 0.0
    deviation = ratio * (stopped.expected - stopped.low) / NORMAL_QUANTILE
    return Heading(value=ratio * stopped.expected, deviation=math.hypot(deviation, spread * stopped.expected))
