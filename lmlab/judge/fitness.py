"""Is a judge fit to rank answers? It is examined on answers of known quality before it is trusted with any model.

    questions + references -> texts of known order (texts.py) -> the judge, by its own method -> checks (checks.py) -> fit or UNFIT

A judge is unfit if one check fails; what couldn't be measured doesn't fail it, and is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lmlab.judge.checks import (
    CHECKPOINTS,
    Check,
    again_check,
    control_checks,
    ladder_check,
    place_check,
    replies_check,
    style_checks,
)
from lmlab.judge.client import Judge
from lmlab.judge.prompting import Method
from lmlab.judge.questions import Question
from lmlab.judge.rounds import Ask, Pair, Replies, ask_all, plan, replies_for
from lmlab.judge.texts import (
    AGAIN,
    BAD_CONTROLS,
    LADDER,
    REFERENCE,
    REPEATED,
    STYLED,
    STYLES,
    Candidate,
    covariates,
    known_candidates,
)
from lmlab.stats.questions import questions_needed, smallest_difference
from lmlab.stats.slopes import Slopes, slopes

ITEMS = 40
"""Questions of an examination, unless another number is asked for."""
DIFFERENCES = (2.0, 5.0, 10.0, 20.0)
"""Points of 100 for which the number of questions is stated."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What it takes to show a difference."""

    points: float
    questions: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"points": self.points, "questions": self.questions}


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitness:
    """The result of an examination."""

    questions: int
    checks: tuple[Check, ...]
    spread: float
    """Standard deviation over questions of the difference of two neighbours on the ladder, in points; NaN if unknown."""
    slopes: Slopes | None
    """Of the score against length, lists and politeness at equal quality; None of a pairwise judge."""
    tokens_a_call: float

    @property
    def fit(self) -> bool:
        """Whether no check failed."""
        return all(check.fit is not False for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.fit is False)

    def needs(self) -> list[Need]:
        """Return how many questions differences of some sizes need."""
        if math.isnan(self.spread):
            return []
        return [Need(points=points, questions=questions_needed(self.spread, points)) for points in DIFFERENCES]

    def shows(self, questions: int) -> float:
        """Return the smallest difference of two models that so many questions show, in points; NaN if unknown."""
        return math.nan if math.isnan(self.spread) else smallest_difference(self.spread, questions)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {
            "fit": self.fit,
            "questions": self.questions,
            "checks": [check.to_json() for check in self.checks],
            "spread": self.spread,
            "needs": [need.to_json() for need in self.needs()],
            "slopes": {} if self.slopes is None else {name: one.to_json() for name, one in self.slopes.of.items()},
            "tokens_a_call": self.tokens_a_call,
        }


def fit_pairs(names: Sequence[str]) -> list[Pair]:
    """Return the pairs that a pairwise judge compares: rungs of the ladder, the reference with each bad control, each style with
    its base, and the repeated texts.
    """
    pairs = [
        *combinations(LADDER, 2),
        *((REFERENCE, name) for name in BAD_CONTROLS),
        *((name, STYLED) for name in STYLES),
        *((name, name + AGAIN) for name in REPEATED),
    ]
    return [(names.index(one), names.index(other)) for one, other in pairs]


def fit_asks(method: Method, candidates: Sequence[Candidate], questions: int, seed: int) -> list[Ask]:
    """Return the prompts of an examination."""
    pairs = fit_pairs([one.name for one in candidates]) if method == "pairwise" else None
    return plan(method, candidates, range(questions), seed, pairs)


def examined(
    judge: Judge,
    questions: Sequence[Question],
    seed: int,
    advance: Callable[[int], object] = lambda amount: None,
) -> Replies:
    """Return the judge's replies about answers of known quality."""
    candidates = known_candidates(questions, seed)
    method = judge.settings.method
    replies = replies_for(method, candidates, len(questions))
    ask_all(judge, fit_asks(method, candidates, len(questions), seed), candidates, questions, replies, advance)
    return replies


def fitness_of(
    replies: Replies, questions: Sequence[Question], seed: int, ladder: tuple[str, Replies] | None = None
) -> Fitness:
    """Return the result, which follows from the replies; `ladder`: a name and the replies about checkpoints, the last one first."""
    candidates = known_candidates(questions, seed)
    checks = [replies_check(replies), *control_checks(replies), ladder_check(replies)]
    if ladder is not None:
        checks.append(ladder_check(ladder[1], ladder[1].names, name=f"{CHECKPOINTS}{ladder[0]}"))
    checks += [again_check(replies), *style_checks(replies)]
    place = place_check(replies)
    checks += [place] if place is not None else []
    return Fitness(
        questions=len(questions),
        checks=tuple(checks),
        spread=_spread(replies),
        slopes=None if replies.method == "pairwise" else _slopes(replies, candidates),
        tokens_a_call=(replies.prompt_tokens + replies.completion_tokens) / max(1, len(replies.asks)),
    )


def _spread(replies: Replies) -> float:
    """Return the standard deviation of the differences of neighbours on the ladder, pooled."""
    places = [replies.names.index(name) for name in LADDER]
    found = []
    for one, other in zip(places, places[1:], strict=False):
        first, second = replies.duel(one, other)
        apart = (first - second)[~np.isnan(first - second)]
        found += [float(np.var(apart, ddof=1))] if len(apart) > 1 else []
    return math.sqrt(sum(found) / len(found)) if found else math.nan


def _slopes(replies: Replies, candidates: Sequence[Candidate]) -> Slopes:
    """Return the slopes over the styled texts and their base, which are equally good."""
    names = (STYLED, STYLED + AGAIN, *STYLES)
    chosen = [one for one in candidates if one.name in names]
    scores = replies.scores()[[replies.names.index(one.name) for one in chosen]]
    columns = covariates([text for one in chosen for text in one.texts])
    return slopes(scores.ravel(), columns, np.tile(np.arange(replies.questions), len(chosen)))
