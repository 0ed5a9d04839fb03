"""What is asked of a judge, prompt by prompt, and the tables of what it replied.

    candidates x questions -> asks (which candidates a prompt shows, in which order) -> replies -> scores, or verdicts on pairs

Orders are functions of the seed and the question. In a table NaN is a reply that couldn't be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.judge.client import Call, Judge, Result
from lmlab.judge.prompting import LABELS, Method
from lmlab.judge.questions import Question
from lmlab.judge.texts import Candidate

Pair = tuple[int, int]
"""Places of two candidates."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One prompt."""

    question: int
    """Its place in the list of questions."""
    shown: tuple[int, ...]
    """Places of the candidates in the prompt's order."""
    repeat: int
    """1 for a text that is judged again, so that the judge is asked again; else 0: equal prompts have one reply."""


@dataclass(kw_only=True, eq=False)
class Replies:
    """A judge's replies about candidates."""

    method: Method
    names: tuple[str, ...]
    questions: int
    asks: list[Ask] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    """For each ask the scores in the prompt's order; empty for a failure."""
    failures: list[str] = field(default_factory=list)
    """For each ask why it failed; empty if it didn't."""
    keys: list[str] = field(default_factory=list)
    """For each ask the key of the call in the cache."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, ask: Ask, result: Result) -> None:
        """Add the reply to a prompt."""
        self.asks.append(ask)
        self.values.append(result.reply.scores)
        self.failures.append(result.reply.failure)
        self.keys.append(result.key)
        self.prompt_tokens += result.prompt_tokens
        self.completion_tokens += result.completion_tokens

    @property
    def failed(self) -> Counter[str]:
        """Reason -> number of failures."""
        return Counter(filter(None, self.failures))

    def failed_about(self, place: int) -> int:
        """Return how many failed prompts showed the candidate."""
        return sum(bool(reason) and place in ask.shown for ask, reason in zip(self.asks, self.failures, strict=True))

    def scores(self) -> NDArray[np.float64]:
        """Return [candidates, questions] from 0 to 100: scores, or of pairs the share of points in all prompts of the question.

        NaN where the candidate wasn't judged, or a prompt that showed it failed.
        """
        total = np.zeros((len(self.names), self.questions))
        count = np.zeros_like(total)
        for ask, values in zip(self.asks, self.values, strict=True):
            for place, value in zip(ask.shown, values or (np.nan,) * len(ask.shown), strict=True):
                total[place, ask.question] += value * (100.0 if self.method == "pairwise" else 1.0)
                count[place, ask.question] += 1
        with np.errstate(invalid="ignore"):
            return np.asarray(total / np.where(count > 0, count, np.nan))

    def asked(self) -> NDArray[np.bool_]:
        """Return [questions]: whether anything was asked about it."""
        found = np.zeros(self.questions, dtype=np.bool_)
        found[[ask.question for ask in self.asks]] = True
        return found

    def verdicts(self, pair: Pair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the pair's verdicts where its first is shown first, and where it is shown second, each [questions]: 1 if the first
        wins, 0 if it loses, 0.5 for a tie.
        """
        found = np.full((2, self.questions), np.nan)
        for ask, values in zip(self.asks, self.values, strict=True):
            if values and set(ask.shown) == set(pair):
                exchanged = ask.shown[0] != pair[0]
                found[int(exchanged), ask.question] = values[int(exchanged)]
        return found[0], found[1]

    def duel(self, first: int, second: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the points of two candidates against each other, each [questions], from 0 to 100: their scores, or of pairs those
        of both orders.
        """
        if self.method != "pairwise":
            scores = self.scores()
            return scores[first], scores[second]
        in_order, exchanged = self.verdicts((first, second))
        points = 50.0 * (in_order + exchanged)
        return points, 100.0 - points

    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return of every judged answer the score, its place in the prompt, its question and its candidate, each [answers]."""
        rows = [
            (value, place, ask.question, candidate)
            for ask, values in zip(self.asks, self.values, strict=True)
            for place, (candidate, value) in enumerate(zip(ask.shown, values, strict=False))
        ]
        table = np.array(rows, dtype=np.float64).reshape(-1, 4)
        return table[:, 0], table[:, 1], table[:, 2].astype(np.int64), table[:, 3].astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, from which `replies_from_json` makes the same."""
        return {
            "method": self.method,
            "names": list(self.names),
            "questions": self.questions,
            "asks": [[ask.question, list(ask.shown), ask.repeat] for ask in self.asks],
            "values": [list(values) for values in self.values],
            "failures": list(self.failures),
            "calls": list(self.keys),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }


def replies_from_json(value: dict[str, Any]) -> Replies:
    """Return the replies that `to_json` converted; LabError if they are damaged."""
    try:
        asks = [
            Ask(question=int(one), shown=tuple(map(int, shown)), repeat=int(two)) for one, shown, two in value["asks"]
        ]
        found = Replies(
            method=value["method"],
            names=tuple(map(str, value["names"])),
            questions=int(value["questions"]),
            asks=asks,
            values=[tuple(map(float, values)) for values in value["values"]],
            failures=[str(one) for one in value["failures"]],
            keys=[str(one) for one in value["calls"]],
            prompt_tokens=int(value["prompt_tokens"]),
            completion_tokens=int(value["completion_tokens"]),
        )
        sizes = {len(found.asks), len(found.values), len(found.failures), len(found.keys)}
        places = all(0 <= place < len(found.names) for ask in asks for place in ask.shown)
        if len(sizes) != 1 or not places or not all(0 <= ask.question < found.questions for ask in asks):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise LabError("the replies of the judge are damaged: judge again with lmlab judge") from None
    return found


def plan(
    method: Method,
    candidates: Sequence[Candidate],
    places: Sequence[int],
    seed: int,
    pairs: Sequence[Pair] | None = None,
) -> list[Ask]:
    """Return the prompts about the candidates at these places of the questions, question by question.

    `pairs` (None: all) are those that a pairwise judge compares, each in both orders. LabError if one prompt would hold too many.
    """
    count = len(candidates)
    if method == "listwise" and count > len(LABELS):
        raise LabError(f"one prompt can hold {len(LABELS)} answers, got {count}: compare fewer models at once")
    asks: list[Ask] = []
    shown: list[tuple[int, ...]]
    for place in places:
        if method == "score":
            shown = [(number,) for number in range(count)]
        elif method == "listwise":
            shown = [tuple(np.random.default_rng([seed, 3, place]).permutation(count).tolist())]
        else:
            chosen = list(combinations(range(count), 2)) if pairs is None else pairs
            shown = [order for a, b in chosen for order in ((a, b), (b, a))]
        for one in shown:
            repeated = any(candidates[number].kind == "again" for number in one)
            asks.append(Ask(question=place, shown=one, repeat=int(repeated)))
    return asks


def calls_of(asks: Iterable[Ask], candidates: Sequence[Candidate], questions: Sequence[Question]) -> list[Call]:
    """Return what is sent for each prompt."""
    return [
        Call(
            question=questions[ask.question].text,
            reference=questions[ask.question].reference,
            answers=tuple(candidates[number].texts[ask.question] for number in ask.shown),
            repeat=ask.repeat,
        )
        for ask in asks
    ]


def ask_all(
    judge: Judge,
    asks: Sequence[Ask],
    candidates: Sequence[Candidate],
    questions: Sequence[Question],
    into: Replies,
    advance: Callable[[int], object] = lambda amount: None,
) -> None:
    """Add the judge's replies to these prompts to `into`."""
    for ask, result in zip(asks, judge.ask(calls_of(asks, candidates, questions)), strict=True):
        into.add(ask, result)
        advance(1)


def replies_for(method: Method, candidates: Sequence[Candidate], questions: int) -> Replies:
    """Return an empty table of replies about these candidates."""
    return Replies(method=method, names=tuple(one.name for one in candidates), questions=questions)
