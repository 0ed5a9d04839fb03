"""Computes the figures of a judged.json again from its raw values, and compares its answers with those in the runs' folders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.files import without_nan
from lmlab.judge.judging import read_judged
from lmlab.judge.raw import Raw
from lmlab.runs import list_runs
from lmlab.runs.answers import read_answers

TOLERANCE = 1e-9
"""Relative: sums in another order of another version of numpy."""
MOST_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class JudgedCheck:
    """What was found."""

    figures: int
    wrong: tuple[str, ...]
    """A line for each figure that differs, and each answer that isn't the stored one."""
    answers: int
    """Answers that were compared with the runs' own."""
    absent: tuple[str, ...]
    """Models whose stored answers aren't here."""

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.wrong

    def line(self) -> str:
        """Return the result in words."""
        here = f"; {self.answers:,} answers are those of the runs" if self.answers else ""
        absent = f"; not here: {', '.join(self.absent)}" if self.absent else ""
        state = "hold" if self.holds else f"don't all hold: {len(self.wrong)} differ"
        return f"{self.figures:,} figures {state}{here}{absent}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json."""
        return {
            "holds": self.holds,
            "figures": self.figures,
            "wrong": list(self.wrong),
            "answers": self.answers,
            "absent": list(self.absent),
        }


def verify_judged(path: Path, runs: Path) -> JudgedCheck:
    """Return whether every figure of the file follows from its raw values; LabError where it's damaged."""
    figures, stated = read_judged(path)
    computed = without_nan(figures.to_json())
    wrong = list(differences(stated, computed, ""))
    answers, absent, others = _answers(figures.raw, runs)
    return JudgedCheck(
        figures=sum(1 for _ in leaves(computed)), wrong=tuple([*wrong, *others]), answers=answers, absent=tuple(absent)
    )


def leaves(value: Any) -> Iterator[Any]:
    """Yield the values that aren't lists or objects."""
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from leaves(one)
    else:
        yield value


def differences(stated: Any, computed: Any, place: str) -> Iterator[str]:
    """Yield a line for each value that isn't the same, numbers up to rounding."""
    if isinstance(computed, dict) and isinstance(stated, dict):
        for name in {**computed, **stated}:
            yield from differences(stated.get(name), computed.get(name), f"{place}.{name}" if place else str(name))
    elif isinstance(computed, list) and isinstance(stated, list) and len(computed) == len(stated):
        for number, (one, other) in enumerate(zip(stated, computed, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif not _same(stated, computed):
        yield f"{place}: the file says {str(stated)[:60]}, computed {str(computed)[:60]}"


def _same(stated: Any, computed: Any) -> bool:
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (stated, computed))
    if numbers:
        return math.isclose(stated, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(stated) is type(computed) and bool(stated == computed)


def _answers(raw: Raw, runs: Path) -> tuple[int, list[str], Sequence[str]]:
    """Return how many answers were compared, the models whose answers aren't here, and a line for each model that differs."""
    folders = {run.id: run.folder for run in list_runs(runs)} if runs.is_dir() else {}
    compared, absent, wrong = 0, [], []
    for model in raw.models:
        stored = read_answers(folders[model.run_id], model.answers_id) if model.run_id in folders else {}
        pairs = [
            (text, stored[question.key].text.strip())
            for question, text in zip(raw.questions, model.texts, strict=True)
            if question.key in stored
        ]
        compared += len(pairs)
        other = sum(one != two for one, two in pairs)
        if not pairs:
            absent.append(model.name)
        if other:
            wrong.append(f"{model.name}: {other} answers aren't those that its run has stored")
    return compared, absent, wrong
