"""What a judge's scores depend on besides quality: their slopes against length, style and the like, within questions.

Long answers belong to certain questions, so answers are compared with other answers to the same question: scores and covariates are
taken relative to their means over the question's answers (fixed effects), and one least-squares fit has all covariates at once.
Answers of one question are dependent, so standard errors are those of clusters (Liang and Zeger, 1986, Biometrika 73) with the
correction for few of them, and limits have Student's quantile with one fewer degrees of freedom than questions (Cameron and Miller,
2015, A practitioner's guide to cluster-robust inference, sections II and VI).

A slope is no proof of a bias: better answers may be longer. Where the same models answer every question, `models` takes each
model's mean out, too, so that a better model's habits count no longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError
from lmlab.stats.student import student_quantile

LEVEL = 0.95
ROUNDING = 1e-9
"""A covariate with a smaller share of its own square left after the others are taken out has no slope."""


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The change of the score per unit of one covariate, all others and the question being equal."""

    slope: float
    """NaN, as are its limits, for a covariate that doesn't vary within questions or follows from others."""
    standard_error: float
    low: float
    high: float
    """`low` and `high` are the interval over questions."""
    spread: float
    """Standard deviation of the covariate within questions: slope times spread is the points that a usual difference brings."""

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0.0 or self.high < 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "slope": self.slope,
            "standard_error": self.standard_error,
            "low": self.low,
            "high": self.high,
            "spread": self.spread,
            "points_per_spread": self.slope * self.spread,
            "shown": self.shown,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Slopes:
    """The slopes of scores against covariates, and the scores without them."""

    of: dict[str, Slope]
    """Covariate -> its slope."""
    adjusted: NDArray[np.float64]
    """[answers]: each score as if the answer had the mean covariates of all answers; NaN where something is missing."""
    explained: float
    """Share of the variance of scores within questions (and models) that the covariates explain; NaN if there is none."""
    answers: int
    questions: int
    """`answers` and `questions` that count: those with another complete answer to the same question."""


def slopes(
    scores: ArrayLike,
    covariates: Mapping[str, ArrayLike],
    questions: ArrayLike,
    models: ArrayLike | None = None,
    level: float = LEVEL,
) -> Slopes:
    """Return the slopes of `scores`, [answers], against covariates, each [answers], within the `questions`, [answers].

    `models`, [answers], takes each model's mean out (None: doesn't). Answers with a NaN are left out. Raises LabError if lengths
    differ or no covariate is given.
    """
    values = np.asarray(scores, dtype=np.float64)
    columns = {name: np.asarray(found, dtype=np.float64) for name, found in covariates.items()}
    of = np.asarray(questions)
    lengths = {len(values), len(of), *map(len, columns.values())} | (
        set() if models is None else {len(np.asarray(models))}
    )
    if not columns or len(lengths) != 1:
        raise LabError(
            f"scores, questions and covariates of lengths {sorted(lengths)}: expected one length, and a covariate"
        )
    x = np.stack(list(columns.values()), axis=1)
    complete = ~np.isnan(values) & ~np.isnan(x).any(axis=1)
    group, size = np.unique(of[complete], return_inverse=True, return_counts=True)[1:]
    kept = np.flatnonzero(complete)[size[group] > 1]
    group = np.unique(of[kept], return_inverse=True)[1]
    number = int(group.max()) + 1 if len(kept) else 0
    within_y, within_x = _centred(values[kept, None], group)[:, 0], _centred(x[kept], group)
    of_models = None if models is None else _centred(_indicators(np.asarray(models)[kept]), group)
    y, rest = within_y, within_x
    if of_models is not None:
        y, rest = _without(y[:, None], of_models)[:, 0], _without(within_x, of_models)
    usable = _usable(rest, within_x)
    fitted, errors = _fit(y, rest[:, usable], group, number)
    half = student_quantile((1 + level) / 2, number - 1) if number > 1 else math.nan
    spread = np.sqrt(np.square(within_x).sum(axis=0) / max(1, len(kept) - number))
    found = dict.fromkeys(
        columns, Slope(slope=math.nan, standard_error=math.nan, low=math.nan, high=math.nan, spread=0.0)
    )
    adjusted = np.where(complete, values, math.nan)
    names = list(columns)
    for place, slope, error in zip(usable, fitted, errors, strict=True):
        found[names[place]] = Slope(
            slope=float(slope),
            standard_error=float(error),
            low=float(slope - half * error),
            high=float(slope + half * error),
            spread=float(spread[place]),
        )
        adjusted = adjusted - slope * (x[:, place] - x[complete, place].mean())
    total = float(y @ y)
    left = y - rest[:, usable] @ fitted
    return Slopes(
        of=found,
        adjusted=np.asarray(adjusted),
        explained=1.0 - float(left @ left) / total if total > 0.0 else math.nan,
        answers=len(kept),
        questions=number,
    )


def _centred(columns: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return columns, [answers, columns], minus their means over each group."""
    if not len(columns):
        return columns
    counts = np.bincount(group)
    means = np.stack([np.bincount(group, weights=column) / counts for column in columns.T], axis=1)
    return np.asarray(columns - means[group])


def _indicators(models: NDArray[Any]) -> NDArray[np.float64]:
    """Return a column of 0 and 1 for each model but the first, [answers, models - 1]."""
    return np.asarray(models[:, None] == np.unique(models)[None, 1:], dtype=np.float64)


def _without(columns: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns minus their least-squares fits on the others."""
    return np.asarray(columns - others @ np.linalg.lstsq(others, columns, rcond=None)[0])


def _usable(columns: NDArray[np.float64], before: NDArray[np.float64]) -> list[int]:
    """Return the columns that vary and don't follow from earlier ones."""
    found: list[int] = []
    for place in range(columns.shape[1]):
        own = columns[:, place : place + 1]
        left = _without(own, columns[:, found]) if found else own
        size = float(np.square(before[:, place]).sum())
        if float(np.square(left).sum()) > ROUNDING * max(size, ROUNDING):
            found.append(place)
    return found


def _fit(
    y: NDArray[np.float64], x: NDArray[np.float64], group: NDArray[np.int64], number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return least-squares slopes and their standard errors by clusters, each [columns]; errors are NaN with one cluster."""
    inverse = np.linalg.inv(x.T @ x) if x.shape[1] else np.zeros((0, 0))
    fitted = inverse @ (x.T @ y)
    if number < 2 or not x.shape[1]:
        return fitted, np.full(len(fitted), math.nan)
    left = y - x @ fitted
    sums = np.stack([np.bincount(group, weights=column * left, minlength=number) for column in x.T], axis=1)
    answers, columns = x.shape
    few = number / (number - 1) * (answers - 1) / max(1, answers - columns)
    return fitted, np.asarray(np.sqrt(few * np.diag(inverse @ sums.T @ sums @ inverse)))
