"""The figures of a comparison: pure functions of its raw values, in a terminal's table as in a file that is verified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.judge.fitness import Fitness, fitness_of
from lmlab.judge.metrics import ModelMetrics, metric_pairs, metric_tables, model_metrics, order_of
from lmlab.judge.raw import JudgeRaw, Label, Raw
from lmlab.judge.rounds import Replies
from lmlab.judge.texts import BAD_CONTROLS, covariates
from lmlab.judge.verdicts import Compared, compare, decided
from lmlab.stats.calibrated import Calibrated, calibrated
from lmlab.stats.rank_agreement import RankAgreement, rank_agreement
from lmlab.stats.scores import MeanScore, mean_score
from lmlab.stats.slopes import Slopes, slopes

ACCEPTED = 50.0
"""Scores from which a judge counts as having accepted an answer, where it is held against labels."""
LEAST_LABELS = 2


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A model by one judge."""

    score: MeanScore
    """Of pairs the share of points against the other models, in percent."""
    adjusted: float
    """The mean without what the judge gives for length and style, as if all answers were alike in these; NaN of pairs."""
    win_rate: float
    """Share of the other models that it beats question by question, ties as a half; NaN for one model."""
    ranks: tuple[int, int] | None
    """The best and the worst rank that the verdicts leave open; None for one model."""
    failed: int
    """Prompts about it whose reply couldn't be read."""
    calibrated: Calibrated | None
    """The share of right answers by the labels; None without labels of both kinds."""
    at_floor: bool | None
    """Whether it isn't shown to be above the bad controls of the examination; None of pairs, or without one."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            **self.score.to_json(),
            "adjusted": self.adjusted,
            "win_rate": self.win_rate,
            "ranks": None if self.ranks is None else list(self.ranks),
            "failed": self.failed,
            "right": None if self.calibrated is None else self.calibrated.to_json(),
            "at_floor": self.at_floor,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgeFigures:
    """The figures of one judge."""

    raw: JudgeRaw
    fitness: Fitness | None
    """None where it wasn't examined."""
    standings: tuple[Standing, ...]
    """Of each model; empty where it wasn't asked about them."""
    pairs: tuple[Compared, ...]
    slopes: Slopes | None
    """Of the models' scores against length and style, within questions and models; None of pairs, or where it wasn't asked."""

    @property
    def trusted(self) -> bool:
        """Whether it was examined and found fit."""
        return self.fitness is not None and self.fitness.fit

    @property
    def tokens(self) -> tuple[int, int]:
        """Prompt and completion tokens of all its calls, those that came from the cache included."""
        found = [one for one in (self.raw.examination, self.raw.ladder_replies, self.raw.replies) if one is not None]
        return sum(one.prompt_tokens for one in found), sum(one.completion_tokens for one in found)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return plain values for --json and files."""
        prompt, completion = self.tokens
        return {
            "judge": self.raw.name,
            "method": self.raw.method,
            "verdict": "not examined" if self.fitness is None else "fit" if self.fitness.fit else "UNFIT",
            "fitness": None if self.fitness is None else self.fitness.to_json(),
            "questions": len(self.raw.order),
            "standings": {name: one.to_json() for name, one in zip(names, self.standings, strict=False)},
            "pairs": [one.to_json() for one in self.pairs],
            "slopes": {} if self.slopes is None else {name: one.to_json() for name, one in self.slopes.of.items()},
            "prompt_tokens": prompt,
            "completion_tokens": completion,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """All figures."""

    raw: Raw
    metrics: tuple[ModelMetrics, ...]
    metric_pairs: Mapping[str, Sequence[Compared]]
    judges: tuple[JudgeFigures, ...]
    agreements: tuple[tuple[str, str, RankAgreement], ...]
    """Two judges that were both asked about the models, and how their orders agree."""

    @property
    def names(self) -> list[str]:
        """The models' names."""
        return [model.name for model in self.raw.models]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "models": {name: one.to_json() for name, one in zip(self.names, self.metrics, strict=True)},
            "pairs": {metric: [one.to_json() for one in found] for metric, found in self.metric_pairs.items()},
            "judges": [judge.to_json(self.names) for judge in self.judges],
            "agreements": [{"first": one, "second": two, **found.to_json()} for one, two, found in self.agreements],
        }


def figures_of(raw: Raw) -> Figures:
    """Return the figures of a comparison."""
    tables = metric_tables(raw)
    return Figures(
        raw=raw,
        metrics=tuple(model_metrics(raw, tables)),
        metric_pairs=metric_pairs(raw, tables),
        judges=tuple(judge_figures(raw, judge) for judge in raw.judges),
        agreements=tuple(_agreements(raw)),
    )


def judge_figures(raw: Raw, judge: JudgeRaw) -> JudgeFigures:
    """Return the figures of one judge."""
    fitness = None
    if judge.examination is not None:
        ladder = None if judge.ladder_replies is None else (judge.ladder, judge.ladder_replies)
        on = [raw.questions[place] for place in judge.examined_on]
        fitness = fitness_of(judge.examination, on, judge.seed, ladder)
    if judge.replies is None:
        return JudgeFigures(raw=judge, fitness=fitness, standings=(), pairs=(), slopes=None)
    replies = judge.replies
    places = list(combinations(range(len(raw.models)), 2))
    pairs = decided(replies, places, judge.order) if judge.until_decided else compare(replies, places)
    found = _slopes(raw, replies)
    adjusted = _adjusted(raw, replies, fitness)
    floor = floor_of(judge.examination)
    return JudgeFigures(
        raw=judge,
        fitness=fitness,
        standings=tuple(_standing(raw, replies, place, pairs, adjusted, floor) for place in range(len(raw.models))),
        pairs=tuple(pairs),
        slopes=found,
    )


def _standing(
    raw: Raw,
    replies: Replies,
    place: int,
    pairs: Sequence[Compared],
    adjusted: NDArray[np.float64],
    floor: float | None,
) -> Standing:
    asked = replies.asked()
    scores = replies.scores()[place][asked]
    name = raw.models[place].name
    wins = []
    for other in range(len(raw.models)):
        if other != place:
            one, two = replies.duel(place, other)
            there = ~np.isnan(one - two)
            wins += ((np.sign((one - two)[there]) + 1) / 2).tolist()
    score = mean_score(scores)
    return Standing(
        score=score,
        adjusted=float(adjusted[place]),
        win_rate=float(np.mean(wins)) if wins else math.nan,
        ranks=ranks_left(name, pairs, len(raw.models)) if len(raw.models) > 1 else None,
        failed=replies.failed_about(place),
        calibrated=_calibrated(raw, replies, place) if replies.method != "pairwise" else None,
        at_floor=None if floor is None else not score.low > floor,
    )


def floor_of(examination: Replies | None) -> float | None:
    """Return the highest upper limit of a bad control's mean score; None of pairs, or without an examination."""
    if examination is None or examination.method == "pairwise":
        return None
    scores = examination.scores()
    return max(mean_score(scores[examination.names.index(name)]).high for name in BAD_CONTROLS)


def ranks_left(name: str, pairs: Sequence[Compared], models: int) -> tuple[int, int]:
    """Return the best and the worst rank of a model that the verdicts leave open: behind all that are better, before all that are
    worse.
    """
    better = worse = 0
    for pair in pairs:
        if name in (pair.first, pair.second) and pair.kind in ("better", "worse"):
            won = (pair.kind == "better") == (pair.first == name)
            better, worse = better + (not won), worse + won
    return 1 + better, models - worse


def _slopes(raw: Raw, replies: Replies) -> Slopes | None:
    """Return the slopes of the models' scores against length and style, within questions and models."""
    if replies.method == "pairwise" or len(raw.models) < 2:
        return None
    columns = covariates([text for model in raw.models for text in model.texts])
    of = np.tile(np.arange(replies.questions), len(raw.models))
    models = np.repeat(np.arange(len(raw.models)), replies.questions)
    return slopes(replies.scores().ravel(), columns, of, models)


def _adjusted(raw: Raw, replies: Replies, fitness: Fitness | None) -> NDArray[np.float64]:
    """Return the mean score of each model without what the judge gives for length and style at equal quality (the examination's
    slopes), [models]; NaN where these are unknown.
    """
    count = len(raw.models)
    if fitness is None or fitness.slopes is None or replies.method == "pairwise":
        return np.full(count, math.nan)
    columns = covariates([text for model in raw.models for text in model.texts])
    gained = np.zeros((count, replies.questions))
    for name, column in columns.items():
        slope = fitness.slopes.of[name].slope
        values = np.array(column).reshape(count, -1)
        gained += 0.0 if math.isnan(slope) else slope * (values - values.mean())
    scores = replies.scores() - gained
    return np.array([mean_score(np.clip(row, 0.0, 100.0)[replies.asked()]).mean.estimate for row in scores])


def _calibrated(raw: Raw, replies: Replies, place: int) -> Calibrated | None:
    """Return the share of the model's answers that are right, by the judge's errors about the labelled answers of all models."""
    scores = replies.scores()
    accepted = [(_score_of(raw, scores, label), label.right) for label in raw.labels]
    known = [(score >= ACCEPTED, right) for score, right in accepted if not math.isnan(score)]
    right = [yes for yes, label in known if label]
    wrong = [not yes for yes, label in known if not label]
    own = scores[place][~np.isnan(scores[place])]
    if min(len(right), len(wrong)) < LEAST_LABELS or not len(own):
        return None
    return calibrated(
        int((own >= ACCEPTED).sum()),
        len(own),
        right_accepted=sum(right),
        right=len(right),
        wrong_rejected=sum(wrong),
        wrong=len(wrong),
    )


def _score_of(raw: Raw, scores: NDArray[np.float64], label: Label) -> float:
    models = [place for place, model in enumerate(raw.models) if model.name == label.model]
    questions = [place for place, one in enumerate(raw.questions) if one.number == label.question]
    return float(scores[models[0], questions[0]]) if models and questions else math.nan


def _agreements(raw: Raw) -> list[tuple[str, str, RankAgreement]]:
    tables = [(judge.name, judge.replies.scores()) for judge in raw.judges if judge.replies is not None]
    if len(raw.models) < 2:
        return []
    return [(one, two, rank_agreement(first, second)) for (one, first), (two, second) in combinations(tables, 2)]


def ranking(figures: JudgeFigures) -> list[int]:
    """Return the models' places from the highest mean score to the lowest."""
    return order_of([standing.score.mean.estimate for standing in figures.standings])
