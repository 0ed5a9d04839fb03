"""Mean scores of answers, by a bootstrap over questions, with bounds for the scores that are missing.

A score is missing where a judge's reply could not be parsed. That is rarely by chance: replies to odd answers are odd. So beside
the mean of what was parsed there are its bounds: the mean if every missing score had been the lowest, or the highest, of the scale
(Manski, 1989, Anatomy of the selection problem, The Journal of Human Resources 24). Their interval reaches from the lower limit of
the lowest to the upper limit of the highest mean, and assumes nothing about what is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError
from lmlab.stats.bootstrap import Interval, ratio_interval


@dataclass(frozen=True, kw_only=True)
class MeanScore:
    """A mean over answers, or a mean difference of two models' answers."""

    mean: Interval
    """Of the scores that are there; `units` is the number of questions with one."""
    answers: int
    missing: int
    lowest: float
    """The mean if each missing score were the lowest of the scale."""
    highest: float
    """The mean if each missing score were the highest."""
    low: float
    high: float
    """`low` and `high` are the interval that holds whatever is missing."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "mean": self.mean.estimate,
            "low": self.mean.low,
            "high": self.mean.high,
            "questions": self.mean.units,
            "answers": self.answers,
            "missing": self.missing,
            "bounds": [self.lowest, self.highest],
            "bounds_low": self.low,
            "bounds_high": self.high,
        }


def mean_score(
    scores: ArrayLike,
    questions: ArrayLike | None = None,
    *,
    scale: tuple[float, float] = (0.0, 100.0),
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> MeanScore:
    """Return the mean of `scores`, [answers], where NaN is a missing one; `questions`, [answers], names each answer's question
    (None: each has its own). `scale` is the lowest and highest score that there can be.

    Raises LabError for a score outside the scale.
    """
    values = np.asarray(scores, dtype=np.float64)
    return _mean(values, *_bounds(values, scale), _groups(values, questions), level, resamples, seed)


def score_difference(
    first: ArrayLike,
    second: ArrayLike,
    questions: ArrayLike | None = None,
    *,
    scale: tuple[float, float] = (0.0, 100.0),
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> MeanScore:
    """Return the mean of first minus second over the same answers' places, [answers], paired by question. A difference is missing
    where either score is; its bounds use the other one.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise LabError(f"scores of shape {one.shape} and {other.shape}: expected two lists of one length")
    (low_one, high_one), (low_other, high_other) = _bounds(one, scale), _bounds(other, scale)
    lowest, highest = low_one - high_other, high_one - low_other
    return _mean(one - other, lowest, highest, _groups(one, questions), level, resamples, seed)


def _bounds(values: NDArray[np.float64], scale: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores with the lowest, and with the highest, in place of missing ones."""
    outside = values[(values < scale[0]) | (values > scale[1])]
    if len(outside):
        raise LabError(f"a score is {outside[0]:g}: expected {scale[0]:g} to {scale[1]:g}, or NaN where it is missing")
    return np.where(np.isnan(values), scale[0], values), np.where(np.isnan(values), scale[1], values)


def _groups(values: NDArray[np.float64], questions: ArrayLike | None) -> NDArray[np.int64]:
    """Return the number of each answer's question."""
    if questions is None:
        return np.arange(len(values))
    found = np.asarray(questions)
    if len(found) != len(values):
        raise LabError(f"{len(values)} scores of {len(found)} questions: expected the question of each score")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _mean(
    values: NDArray[np.float64],
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
    of: NDArray[np.int64],
    level: float,
    resamples: int,
    seed: int,
) -> MeanScore:
    def interval(found: NDArray[np.float64]) -> Interval:
        there = ~np.isnan(found)
        counts = np.bincount(of[there], minlength=1)
        sums = np.bincount(of[there], weights=found[there], minlength=1)
        return ratio_interval(sums[counts > 0], counts[counts > 0], level, resamples, seed)

    mean, below, above = interval(values), interval(lowest), interval(highest)
    complete = not np.isnan(values).any()
    return MeanScore(
        mean=mean,
        answers=len(values),
        missing=int(np.isnan(values).sum()),
        lowest=below.estimate if len(values) else math.nan,
        highest=above.estimate if len(values) else math.nan,
        low=mean.low if complete else below.low,
        high=mean.high if complete else above.high,
    )
