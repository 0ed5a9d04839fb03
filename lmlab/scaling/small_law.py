"""The loss of a small training run on a new text, predicted from a table of small runs on other texts.

Input: a few facts of the run (`Traits`). Output: its expected loss with an interval. Relative to the loss g of the best n-gram
model of the same text and tokens, and the loss b of its bigram model,

    log(L / g) = c + m [Muon] + t [n-gram tables] + k log(b / g) + log(1 + A ((N/N0)^-.35 - 1) + B ((D/D0)^-.37 - 1))

The last term is the law of arXiv 2203.15556 with its exponents fixed; A and B are the shares of the loss that parameters and
tokens make up at N0 and D0. The n-gram loss captures text, tokenizer and length of the text at once, so that texts can be
compared. A short run is still nearer to the bigram loss than a good n-gram model is, hence k: one for AdamW, which stays there
longer, and one for Muon. Seven parameters with priors, fitted by least squares with three kinds of error: of a text, of a study
(one recipe with its settings varied), and of a run. A new text has all three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lmlab.scaling.estimate import NORMAL_QUANTILE, Estimate

Array = NDArray[np.float64]
Spreads = tuple[float, float, float]

ALPHA, BETA = 0.35, 0.37
"""Exponents of arXiv 2404.10102, rounded."""
CENTRE = (5e5, 1e6)
"""N0 and D0: parameters and tokens."""
NAMES = ("c", "muon", "tables", "bigram", "bigram_muon", "A", "B")
PRIOR_MEANS = np.array([0.0, 0.0, -0.1, 0.8, 0.2, 0.09, 0.25])
PRIOR_SPREADS = np.array([1.0, 0.2, 0.1, 0.3, 0.3, 0.02, 0.08])
LINEAR = len(NAMES) - 2
"""Number of the linear parameters; A and B, the last two, are inside a logarithm.

The prior of A is from twelve runs with models of an eighth and a quarter of the width beside them
(docs/notes/ladders-of-few-steps.md): .06 to .11.
"""
TEXT_SPREADS, STUDY_SPREADS, RUN_SPREADS = (
    (0.04, 0.06, 0.09, 0.12, 0.15),
    (0.03, 0.05, 0.07, 0.1),
    (0.03, 0.04, 0.06, 0.08),
)
"""Grids from which the three standard deviations of the log-loss are chosen, by restricted likelihood."""
ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The facts of a training run that the law uses."""

    parameters: float
    """Those that every token is multiplied by."""
    tokens: float
    """Training tokens; for repeated text the effective number of fresh tokens."""
    ngram_loss: float
    """Loss of the best n-gram model of the text, in nats a token."""
    bigram_loss: float
    muon: bool
    """Whether Muon updates the matrices; else AdamW."""
    tables: bool
    """Whether the model has n-gram tables."""


@dataclass(frozen=True, kw_only=True)
class SmallPoint:
    """A training run with its loss."""

    traits: Traits
    loss: float
    text: str
    study: str


@dataclass(frozen=True, kw_only=True)
class SmallLaw:
    """The fitted law."""

    numbers: tuple[float, ...]
    """In the order of NAMES."""
    covariance: Array
    spreads: Spreads
    """Standard deviations of the log-loss between texts, studies and runs; a run on a new text has all three."""
    texts: int
    points: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values for files."""
        return {**asdict(self), "covariance": self.covariance.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the law with the values that `to_json` returned."""
        text, study, run = value["spreads"]
        return cls(
            numbers=tuple(value["numbers"]),
            covariance=np.array(value["covariance"]),
            spreads=(text, study, run),
            texts=value["texts"],
            points=value["points"],
        )

    def loss(self, traits: Traits) -> float:
        """Return the loss in nats a token."""
        return traits.ngram_loss * math.exp(float(_predicted(np.array(self.numbers), _columns([traits]))[0]))

    def expected(self, traits: Traits, away: float = 0.0) -> Estimate:
        """Return the expected loss with an interval that should hold on a new text in four of five cases.

        The interval widens by its base width for each factor of e, `away`, by which size and length are outside the runs.
        """
        columns, value = _columns([traits]), self.loss(traits)
        slope = _slopes(np.array(self.numbers), columns)[0]
        width = (
            (1.0 + away)
            * NORMAL_QUANTILE
            * math.sqrt(sum(one**2 for one in self.spreads) + float(slope @ self.covariance @ slope))
        )
        return Estimate(
            value=value,
            low=value * math.exp(-width),
            high=value * math.exp(width),
            evidence="extrapolated" if away > 0.0 else "fitted",
            rests_on=f"a law fitted to {self.points:,} small runs on {self.texts} other texts",
        )


def fit_small_law(points: Sequence[SmallPoint], spreads: Spreads | None = None) -> SmallLaw:
    """Return the law fitted to these runs; without `spreads` they are chosen by restricted maximum likelihood."""
    columns = _columns([point.traits for point in points])
    observed = np.log([point.loss / point.traits.ngram_loss for point in points])
    same_text = _same([point.text for point in points])
    same_study = _same([f"{point.study}\0{point.text}" for point in points])

    def fitted(one: Spreads) -> tuple[Array, Array, float]:
        text, study, run = one
        errors = text**2 * same_text + study**2 * same_study + run**2 * np.eye(len(points))
        return _fitted(columns, observed, errors)

    chosen = spreads or max(product(TEXT_SPREADS, STUDY_SPREADS, RUN_SPREADS), key=lambda one: fitted(one)[2])
    numbers, covariance, _ = fitted(chosen)
    return SmallLaw(
        numbers=tuple(numbers.tolist()),
        covariance=covariance,
        spreads=chosen,
        texts=len({point.text for point in points}),
        points=len(points),
    )


def _fitted(columns: Array, observed: Array, errors: Array) -> tuple[Array, Array, float]:
    """Return parameters and covariance by Gauss-Newton steps, and the restricted log-likelihood, for given errors."""
    inverse = np.linalg.inv(errors)
    precision = np.diag(PRIOR_SPREADS**-2.0)
    numbers = PRIOR_MEANS.copy()
    for _ in range(ROUNDS):
        slopes = _slopes(numbers, columns)
        total = slopes.T @ inverse @ slopes + precision
        off = observed - _predicted(numbers, columns)
        numbers = numbers + np.linalg.solve(total, slopes.T @ inverse @ off + precision @ (PRIOR_MEANS - numbers))
        numbers[LINEAR:] = np.clip(numbers[LINEAR:], 0.01, 0.6)
    off, moved = observed - _predicted(numbers, columns), numbers - PRIOR_MEANS
    likelihood = -0.5 * float(
        off @ inverse @ off + moved @ precision @ moved + np.linalg.slogdet(errors)[1] + np.linalg.slogdet(total)[1]
    )
    return numbers, np.asarray(np.linalg.inv(total), np.float64), likelihood


def _columns(traits: Sequence[Traits]) -> Array:
    """Return [points, 7]: 1, Muon, tables, log(b / g) under AdamW and under Muon, and the two powers less 1."""
    return np.array(
        [
            [
                1.0,
                float(one.muon),
                float(one.tables),
                (not one.muon) * math.log(one.bigram_loss / one.ngram_loss),
                one.muon * math.log(one.bigram_loss / one.ngram_loss),
                (one.parameters / CENTRE[0]) ** -ALPHA - 1.0,
                (one.tokens / CENTRE[1]) ** -BETA - 1.0,
            ]
            for one in traits
        ]
    )


def _law(numbers: Array, columns: Array) -> Array:
    return np.asarray(np.maximum(1.0 + columns[:, LINEAR:] @ numbers[LINEAR:], 1e-3), np.float64)


def _predicted(numbers: Array, columns: Array) -> Array:
    """Return log(L / g) of each point."""
    return np.asarray(columns[:, :LINEAR] @ numbers[:LINEAR] + np.log(_law(numbers, columns)), np.float64)


def _slopes(numbers: Array, columns: Array) -> Array:
    """Return [points, 7]: the derivatives of the predictions with respect to each parameter."""
    return np.concatenate([columns[:, :LINEAR], columns[:, LINEAR:] / _law(numbers, columns)[:, None]], axis=1)


def _same(names: Sequence[str]) -> Array:
    """Return [points, points]: 1 where two have the same name."""
    column = np.array(names)
    found: Array = (column[:, None] == column[None, :]).astype(np.float64)
    return found
