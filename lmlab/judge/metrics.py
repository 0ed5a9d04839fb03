"""Metrics that need no judge: exact match, chrF, and the log-probability of the reference, of each model and between models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.answers import chrf, exact_match
from lmlab.judge.raw import Raw, nats_table
from lmlab.judge.verdicts import Compared, compared_scores
from lmlab.stats.bootstrap import Interval, ratio_interval
from lmlab.stats.scores import MeanScore, mean_score

EXACT, CHRF, LIKELIHOOD = "exact match", "chrF", "log-probability of the reference"
METRICS = (EXACT, CHRF, LIKELIHOOD)
UNITS = {EXACT: "%", CHRF: "points", LIKELIHOOD: "nats"}


@dataclass(frozen=True, kw_only=True)
class ModelMetrics:
    """A model's figures without a judge."""

    exact: MeanScore
    """In percent of the questions."""
    chrf: MeanScore
    bits_per_byte: Interval
    """Of the references; lower is better."""
    unscored: int
    """References whose log-probability can't be computed (longer than the context, unknown symbols)."""
    same: float
    """Share of the most frequent answer: near 1 for a model that always says the same."""
    empty: int
    unended: int
    """Answers that the limit of tokens ended."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        bits = self.bits_per_byte
        return {
            "exact_match_percent": self.exact.to_json(),
            "chrf": self.chrf.to_json(),
            "reference_bits_per_byte": {"estimate": bits.estimate, "low": bits.low, "high": bits.high},
            "unscored": self.unscored,
            "most_frequent_answer": self.same,
            "empty": self.empty,
            "unended": self.unended,
        }


def metric_tables(raw: Raw) -> dict[str, NDArray[np.float64]]:
    """Return metric -> [models, questions], of which the higher is better; NaN where it can't be computed."""
    references = [question.reference for question in raw.questions]
    exact = [
        [100.0 * exact_match(one, two) for one, two in zip(model.texts, references, strict=True)]
        for model in raw.models
    ]
    shared = [[chrf(one, two) for one, two in zip(model.texts, references, strict=True)] for model in raw.models]
    return {EXACT: np.array(exact), CHRF: np.array(shared), LIKELIHOOD: -nats_table(raw)}


def model_metrics(raw: Raw, tables: dict[str, NDArray[np.float64]]) -> list[ModelMetrics]:
    """Return the figures of each model."""
    sizes = np.array([len(question.reference.encode()) for question in raw.questions], dtype=np.float64)
    found = []
    for place, model in enumerate(raw.models):
        nats = -tables[LIKELIHOOD][place]
        counts = [model.texts.count(text) for text in set(model.texts)]
        found.append(
            ModelMetrics(
                exact=mean_score(tables[EXACT][place]),
                chrf=mean_score(tables[CHRF][place]),
                bits_per_byte=ratio_interval(nats / math.log(2), sizes),
                unscored=int(np.isnan(nats).sum()),
                same=max(counts) / len(model.texts),
                empty=sum(not text for text in model.texts),
                unended=model.reasons.count("length"),
            )
        )
    return found


def metric_pairs(raw: Raw, tables: dict[str, NDArray[np.float64]]) -> dict[str, list[Compared]]:
    """Return metric -> the verdicts on all pairs of models, adjusted for the pairs. A missing log-probability is left out."""
    pairs = list(combinations(range(len(raw.models)), 2))
    names = [(raw.models[a].name, raw.models[b].name) for a, b in pairs]
    found = {}
    for metric in METRICS:
        table = tables[metric]
        kept = ~np.isnan(table).any(axis=0)
        found[metric] = compared_scores(
            names, [(table[a][kept], table[b][kept]) for a, b in pairs], (-math.inf, math.inf)
        )
    return found


def order_of(values: Sequence[float]) -> list[int]:
    """Return places from the highest value to the lowest, NaN last."""
    return sorted(range(len(values)), key=lambda place: (math.isnan(values[place]), -values[place], place))
