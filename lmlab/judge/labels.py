"""A few verdicts of a person, by which a judge's own are calibrated: JSONL, or a JSON list.

    {"question": 941, "model": "base@1500", "right": true}

`question` is the record's place among those of the file that have an answer, from 1; `model` is a model's name as in the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import parse_json, reason
from lmlab.judge.raw import Label

LARGEST_BYTES = 16 << 20


def read_labels(path: Path, questions: Sequence[int], models: Sequence[str]) -> tuple[Label, ...]:
    """Return the labels of answers that are compared; LabError where the file is invalid, or has labels of both kinds for none."""
    found = [_label(value, path, number) for number, value in enumerate(_values(path), 1)]
    kept = tuple(one for one in found if one.question in questions and one.model in models)
    if not kept:
        raise LabError(
            f"{path} labels none of these answers: expected a question of {min(questions)} to {max(questions)} and a model of "
            f"{', '.join(models)}"
        )
    return kept


def _values(path: Path) -> list[Any]:
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGEST_BYTES else b""
    except OSError as error:
        raise LabError(f"{path} can't be read: {reason(error)}; expected labels as JSONL") from None
    try:
        if content.lstrip()[:1] == b"[":
            found = parse_json(content)
            return found if isinstance(found, list) else []
        return [parse_json(line) for line in content.splitlines() if line.strip()]
    except ValueError as error:
        raise LabError(f"{path} isn't JSON ({error}): expected a label a line") from None


def _label(value: Any, path: Path, number: int) -> Label:
    known = isinstance(value, dict) and {"question", "model", "right"} <= set(value)
    if (
        not known
        or type(value["question"]) is not int
        or not isinstance(value["model"], str)
        or type(value["right"]) is not bool
    ):
        raise LabError(
            f"{path}, label {number}: expected question (a number), model (a name) and right (true or false)"
        )
    return Label(question=value["question"], model=value["model"], right=value["right"])
