"""The questions that models are compared on: records of a file of conversations, or one part of them.

The parts are the sequential split of the 1,100 published instruction records (S. Raschka, Build a Large Language Model (From
Scratch), ch. 7): the first 85 % train, the next 10 % test, the rest validation; of 1,100 records 935, 110 and 55.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lmlab import LabError
from lmlab.data.instructions.records import Conversation, read_conversations
from lmlab.recipe.template import Message

Part = Literal["all", "train", "test", "valid"]
TRAIN_PERCENT, TEST_PERCENT = 85, 10


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question with its reference answer."""

    number: int
    """The record's place among those of the file that have an answer, from 1."""
    messages: tuple[Message, ...]
    """The conversation up to the answer; the last message is the user's."""
    reference: str

    @property
    def text(self) -> str:
        """The question as a judge reads it: the last message with its input, and earlier turns before it."""
        turns = [f"{turn.content}\n\n{turn.input}" if turn.input else turn.content for turn in self.messages]
        if len(turns) == 1:
            return turns[0]
        return "\n\n".join(f"{turn.role}: {text}" for turn, text in zip(self.messages, turns, strict=True))

    @property
    def key(self) -> str:
        """A hash of the messages: 16 hexadecimal digits, the same in any file and at any place."""
        return digest([[turn.role, turn.content, turn.input] for turn in self.messages])


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The chosen questions, in the file's order."""

    file: str
    part: Part
    records: int
    """Records in the file that have an answer."""
    questions: tuple[Question, ...]

    @property
    def id(self) -> str:
        """A hash of all questions and references."""
        return digest([[question.key, question.reference] for question in self.questions])


def read_questions(path: Path, part: Part = "all", items: int | None = None, seed: int = 1) -> Questions:
    """Return the questions of a part of the file, or `items` of them that `seed` chooses.

    LabError if the file isn't one of conversations, or the part has no or fewer records.
    """
    found = read_conversations(path)
    places = places_of(part, len(found))
    if not places:
        raise LabError(f"{path} has {len(found)} records, too few for a part {part}; use --part all")
    if items is not None:
        if not 1 <= items <= len(places):
            raise LabError(f"--items {items}: expected 1 to {len(places)}, the records in part {part} of {path}")
        chosen = np.random.default_rng(seed).choice(len(places), size=items, replace=False)
        places = [places[one] for one in sorted(chosen.tolist())]
    questions = tuple(question_of(found[place], place + 1) for place in places)
    return Questions(file=path.name, part=part, records=len(found), questions=questions)


def places_of(part: Part, records: int) -> list[int]:
    """Return the places, from 0, of a part of a file of so many records.

    >>> [len(places_of(part, 1100)) for part in ("train", "test", "valid")], places_of("test", 1100)[0]
    ([935, 110, 55], 935)
    """
    train, test = records * TRAIN_PERCENT // 100, records * TEST_PERCENT // 100
    ranges = {
        "all": range(records),
        "train": range(train),
        "test": range(train, train + test),
        "valid": range(train + test, records),
    }
    return list(ranges[part])


def question_of(conversation: Conversation, number: int) -> Question:
    """Return the question of a record."""
    return Question(number=number, messages=conversation.question, reference=conversation.reference)


def digest(value: object) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(canonical(value)).hexdigest()[:16]


def canonical(value: object) -> bytes:
    """Return a JSON value as bytes that are the same wherever it is computed."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def duplicates(questions: Sequence[Question]) -> int:
    """Return how many questions repeat an earlier one."""
    return len(questions) - len({question.key for question in questions})
