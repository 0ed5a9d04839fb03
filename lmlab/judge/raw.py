"""Everything that the figures of a comparison follow from: questions, answers, nats, and the judges' replies.

It is what `judged.json` holds beside the figures, so that `lmlab verify` computes them again without a model or a judge.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.judge.questions import Question, digest
from lmlab.judge.rounds import Replies, replies_from_json
from lmlab.recipe.template import Message

FORMAT = 1
KIND = "judged"
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class ModelRaw:
    """A model and what it answered."""

    name: str
    run_id: str
    step: int | None
    weights: str
    template: str
    tuned: bool
    """Whether the template is the model's own."""
    parameters: int | None
    answers_id: str
    """The name of the file of answers."""
    texts: tuple[str, ...]
    """[questions]"""
    reasons: tuple[str, ...]
    """[questions]: why each ended."""
    nats: tuple[float, ...]
    """[questions]: minus the log-probability of the reference; NaN where it can't be scored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgeRaw:
    """A judge's replies."""

    name: str
    address: str
    settings: dict[str, Any]
    """Method, temperature, tokens and seed."""
    price: float | None
    """Of a million prompt tokens."""
    seed: int
    examined_on: tuple[int, ...]
    """Places of the questions that it was examined on; empty if it wasn't."""
    examination: Replies | None
    ladder: str
    """The run whose checkpoints it was asked about; empty for none."""
    ladder_replies: Replies | None
    replies: Replies | None
    """About the models; None where it was found unfit first."""
    order: tuple[int, ...]
    """Places of the questions that it was asked about the models, in that order."""
    until_decided: bool
    """Whether it was looked at the verdicts while it was asked."""

    @property
    def method(self) -> str:
        """The method."""
        found: str = self.settings["method"]
        return found


@dataclass(frozen=True, kw_only=True)
class Label:
    """A person's verdict on one answer."""

    question: int
    """The record's place in the file, from 1."""
    model: str
    right: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Raw:
    """A comparison before its figures."""

    file: str
    part: str
    records: int
    sampling: dict[str, Any]
    questions: tuple[Question, ...]
    models: tuple[ModelRaw, ...]
    judges: tuple[JudgeRaw, ...]
    labels: tuple[Label, ...] = ()

    @property
    def id(self) -> str:
        """A hash of questions, answers and judges."""
        models = [[one.answers_id, one.run_id, list(one.texts)] for one in self.models]
        judges = [[one.name, one.address, one.settings, one.seed, one.until_decided] for one in self.judges]
        return digest([[[one.key, one.reference] for one in self.questions], models, judges])

    def to_json(self) -> dict[str, Any]:
        """Return plain values, from which `raw_from_json` makes the same."""
        return {
            "file": self.file,
            "part": self.part,
            "records": self.records,
            "sampling": self.sampling,
            "questions": [
                {"number": one.number, "messages": [vars(turn) for turn in one.messages], "reference": one.reference}
                for one in self.questions
            ],
            "models": [dataclasses.asdict(one) for one in self.models],
            "judges": [_judge_json(one) for one in self.judges],
            "labels": [vars(one) for one in self.labels],
        }


def _judge_json(judge: JudgeRaw) -> dict[str, Any]:
    found = {field.name: getattr(judge, field.name) for field in dataclasses.fields(judge)}
    return {name: one.to_json() if isinstance(one, Replies) else one for name, one in found.items()}


def raw_from_json(value: Any) -> Raw:
    """Return the comparison that `to_json` converted; LabError where it's damaged."""
    try:
        questions = tuple(
            Question(
                number=int(one["number"]),
                messages=tuple(Message(**turn) for turn in one["messages"]),
                reference=str(one["reference"]),
            )
            for one in value["questions"]
        )
        found = Raw(
            file=str(value["file"]),
            part=str(value["part"]),
            records=int(value["records"]),
            sampling=dict(value["sampling"]),
            questions=questions,
            models=tuple(_model(one) for one in value["models"]),
            judges=tuple(_judge(one) for one in value["judges"]),
            labels=tuple(Label(**one) for one in value["labels"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LabError("the comparison is damaged: expected questions, models and judges; judge again") from None
    _require_sizes(found)
    return found


def _model(value: dict[str, Any]) -> ModelRaw:
    nats = tuple(math.nan if one is None else float(one) for one in value["nats"])
    return ModelRaw(**{**value, "nats": nats, "texts": tuple(value["texts"]), "reasons": tuple(value["reasons"])})


def _judge(value: dict[str, Any]) -> JudgeRaw:
    replies = {name: _or_none(value[name], replies_from_json) for name in ("examination", "ladder_replies", "replies")}
    places = {name: tuple(map(int, value[name])) for name in ("examined_on", "order")}
    return JudgeRaw(**{**value, **replies, **places})


def _or_none(value: Any, read: Callable[[Any], Value]) -> Value | None:
    return None if value is None else read(value)


def _require_sizes(raw: Raw) -> None:
    count = len(raw.questions)
    sizes = {len(column) for one in raw.models for column in (one.texts, one.reasons, one.nats)}
    places = [place for judge in raw.judges for place in (*judge.examined_on, *judge.order)]
    if sizes - {count} or not all(0 <= place < count for place in places):
        raise LabError("the comparison is damaged: expected an answer of each model to each question; judge again")


def nats_table(raw: Raw) -> NDArray[np.float64]:
    """Return [models, questions]: minus the log-probability of the references."""
    return np.array([one.nats for one in raw.models], dtype=np.float64).reshape(len(raw.models), len(raw.questions))
