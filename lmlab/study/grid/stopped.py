"""The censored loss of a run that was stopped early.

Leaving such runs out would average a cell over the runs that were good enough to be kept, and lose the effects of the worst cells.
What is known about a stopped run is its predicted final loss E and the lower limit L of that interval of 80%: its final loss is
below L in at most one of ten cases. It is treated as censored from below, like the aborted runs of Hutter, Hoos and Leyton-Brown
2013 (Bayesian optimization with censored response data, arXiv 1310.1947):

    standard deviation of the predicted loss:   (E - L) / 1.2816

since the prediction's tail is that of a normal distribution (`scaling.curve`).

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
    """The prediction for a run when it was stopped: nats a token of the sample that is scored during the training."""

    step: int
    """The step of the evaluation after which it was stopped."""
    expected: float
    low: float
    """The lower limit of an interval of 80%."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for study.json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A run's final or predicted loss in the measure of the study, and its standard deviation."""

    value: float
    deviation: float = 0.0
    """0 for a finished run."""


def stopped_from(value: Mapping[str, Any] | None) -> Stopped | None:
    """Read the prediction from a note (`study.grid.pruning_runs`) or from study.json; None where that has no valid figures."""
    try:
        found = Stopped(step=int(value["step"]), expected=float(value["expected"]), low=float(value["low"]))  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
    return found if 0.0 < found.low <= found.expected < math.inf else None


def heading_of(stopped: Stopped, ratios: Sequence[float]) -> Heading | None:
    """Convert the prediction to the study's measure; None without a finished run.

    `ratios` are, for finished runs with the same tokens, the loss over the whole split in that measure divided by that of the last
    evaluation during training.
    """
    if not ratios:
        return None
    ratio = float(np.mean(ratios))
    spread = float(np.std(ratios, ddof=1)) * math.sqrt(1.0 + 1.0 / len(ratios)) if len(ratios) > 1 else 0.0
    deviation = ratio * (stopped.expected - stopped.low) / NORMAL_QUANTILE
    return Heading(value=ratio * stopped.expected, deviation=math.hypot(deviation, spread * stopped.expected))
