"""answers/ID.jsonl: what a checkpoint answered, a line for each question, whichever set of questions it was asked in.

ID is the hash of what the answers follow from besides the question: checkpoint, template and sampling. The first line describes
these; each further one has `question` (a hash), `text`, `tokens` and `reason`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import DISK, Storage, is_link, make_folder, write_bytes
from lmlab.runs.lines import FORMAT, line_bytes, read_lines

FOLDER = "answers"
ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A model's answer to one question."""

    text: str
    tokens: int
    reason: str
    """Why it ended: length, stop, end_of_text; or unreadable, where the question has symbols that the tokenizer can't encode."""


def answers_path(folder: Path, name: str) -> Path:
    """Return the file of these answers below `folder`; LabError if `answers` in it is a link."""
    if is_link(folder / FOLDER):
        raise LabError(
            f"{folder / FOLDER} is a link: expected the run's own folder; put what it points to in its place"
        )
    return folder / FOLDER / f"{name}.jsonl"


def read_answers(folder: Path, name: str) -> dict[str, Answer]:
    """Return question -> answer, of those that are stored; LabError if the file is damaged."""
    path = answers_path(folder, name)
    found: dict[str, Answer] = {}
    for line in read_lines(path)[1:]:
        values = [line.get(key) for key in ("question", "text", "tokens", "reason")]
        question, text, tokens, reason = values
        if not (
            isinstance(question, str) and isinstance(text, str) and type(tokens) is int and isinstance(reason, str)
        ):
            raise LabError(
                f"{path} is damaged: expected question, text, tokens and reason in each line; remove the file"
            )
        found[question] = Answer(text=text, tokens=tokens, reason=reason)
    return found


def write_answers(
    folder: Path, name: str, about: Mapping[str, Any], answers: Mapping[str, Answer], storage: Storage = DISK
) -> None:
    """Write all answers, atomically; `about` describes what they follow from."""
    path = answers_path(folder, name)
    make_folder(path.parent, "choose a folder of runs that can be written")
    lines = [{"format": FORMAT, **about}]
    lines += [{"format": FORMAT, "question": question, **vars(answer)} for question, answer in answers.items()]
    write_bytes(path, b"".join(map(line_bytes, lines)), storage)
