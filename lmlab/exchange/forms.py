"""The supported formats of logs ("forms"), and their detection.

A form of lines is a list of patterns. A pattern's `first` is the number of updates made at a line with step 0: a project that logs
the loss of a batch under the index of its iteration has made one update at that time, and lmlab's steps count updates made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lmlab import LabError
from lmlab.exchange.epochs import ABOUT, EPOCHS, read_epochs
from lmlab.exchange.log import LARGEST_STEP, Kind, Log, LogPoint, resolve_restarts, summed_steps
from lmlab.exchange.tables import TABLE, read_table

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
STEP = r"\d{1,12}"
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
AUTO = "auto"
SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """The pattern of one kind of line, with these groups: step, of, loss, train, rate, norm, seconds, milliseconds,
    step_milliseconds.
    """

    kind: Kind
    text: str
    first: Literal[0, 1] = 0

    @property
    def compiled(self) -> re.Pattern[str]:
        """The regular expression, searched anywhere in a line, with `text`'s STEP and NUMBER replaced by theirs."""
        return re.compile(self.text.replace("STEP", STEP).replace("NUMBER", NUMBER))


@dataclass(frozen=True, kw_only=True)
class LineForm:
    """The log format of a project."""

    name: str
    about: str
    patterns: tuple[Pattern, ...]
    whole: bool | None = None
    """Whether evaluations are over the whole validation split; None if unknown."""
    clock: str = ""
    """What the log's seconds include."""
    facts: dict[str, str] = field(default_factory=dict)
    """Further values: field of `Log` -> pattern whose first group is the number, and the second, if any, its unit."""


LINE_FORMS = (
    LineForm(
        name="nanogpt",
        about="nanoGPT's output",
        patterns=(
            Pattern(
                kind="evaluation",
                text=r"\bstep (?P<step>STEP): train loss (?P<train>NUMBER), val loss (?P<loss>NUMBER)",
            ),
            Pattern(
                kind="train",
                text=r"\biter (?P<step>STEP): loss (?P<loss>NUMBER), time (?P<step_milliseconds>NUMBER)ms",
                first=1,
            ),
        ),
        whole=False,
        clock="training, added up from the times of the steps that were printed",
        facts={
            "step_tokens": r"tokens per iteration will be: ([\d,]+)",
            "parameters": r"number of parameters: ([\d.]+)([KMB])",
        },
    ),
    LineForm(
        name="llmc",
        about="llm.c's main.log",
        patterns=(
            Pattern(kind="evaluation", text=r"^s:(?P<step>STEP) tel:(?P<loss>NUMBER)"),
            Pattern(
                kind="train",
                text=r"^s:(?P<step>STEP) trl:(?P<loss>NUMBER)(?: lr:(?P<rate>NUMBER))?(?: norm:(?P<norm>NUMBER))?",
                first=1,
            ),
        ),
    ),
    LineForm(
        name="modded-nanogpt",
        about="modded-nanogpt's records",
        patterns=(
            Pattern(
                kind="evaluation",
                text=r"^step:(?P<step>STEP)/(?P<of>STEP) val_loss:(?P<loss>NUMBER) train_time:(?P<milliseconds>NUMBER)ms",
            ),
            Pattern(
                kind="train",
                text=r"^step:(?P<step>STEP)/(?P<of>STEP) train_loss:(?P<loss>NUMBER) train_time:(?P<milliseconds>NUMBER)ms",
            ),
        ),
        clock="training, by the log",
    ),
    LineForm(
        name="bracketed",
        about="[ 200/3000] train=... val=... elapsed=...s",
        patterns=(
            Pattern(
                kind="evaluation",
                text=r"^\[ *(?P<step>STEP)/(?P<of>STEP)\].*?\btrain=(?P<train>NUMBER) +val=(?P<loss>NUMBER)"
                r"(?: +elapsed=(?P<seconds>NUMBER)s)?",
            ),
        ),
        whole=False,
        clock="training and evaluation, by the log",
    ),
    LineForm(
        name="llms-from-scratch",
        about="the output of LLMs-from-scratch: Ep 1 (Step 000005): Train loss ..., Val loss ...",
        patterns=(
            Pattern(
                kind="evaluation",
                text=r"\bEp \d+ \(Step (?P<step>STEP)\): Train loss (?P<train>NUMBER), Val loss (?P<loss>NUMBER)",
                first=1,
            ),
        ),
        whole=False,
    ),
)

FORMS = {
    **{form.name: form.about for form in LINE_FORMS},
    EPOCHS: ABOUT,
    TABLE: "a table with commas, tabs, bars or aligned by spaces, its columns named in a line above",
}
"""Name of each form -> its description."""


def read_log(text: str, form: str = AUTO) -> list[Log]:
    """Return the trainings in a log: one, or one or more in a table with a column `run`.

    `auto` selects the form that most lines match. LabError if the form is unknown, or no line matches it.
    """
    if form not in (AUTO, *FORMS):
        raise LabError(f"there is no form {form[:40]!r} of logs: expected {AUTO}, {', '.join(FORMS)}")
    lines = ESCAPES.sub("", text).splitlines()
    if form == TABLE:
        return read_table(lines)
    by_epoch = read_epochs(lines) if form in (AUTO, EPOCHS) else None
    candidates = [one for one in LINE_FORMS if form in (AUTO, one.name)]
    found = {one.name: _points(one, lines) for one in candidates}
    best = max(candidates, key=lambda one: len(found[one.name]), default=None)
    if best is not None and found[best.name] and len(found[best.name]) >= len(by_epoch.points if by_epoch else ()):
        return [_log(best, found[best.name], lines)]
    if by_epoch is not None:
        return [by_epoch]
    if form == AUTO:
        try:
            return read_table(lines)
        except LabError:
            pass
    raise LabError(
        f"there is no line of training in it: expected {_described(FORMS if form == AUTO else {form: FORMS[form]})}"
    )


def _points(form: LineForm, lines: Sequence[str]) -> list[tuple[LogPoint, int | None]]:
    """Return the points of a form in the order of the lines, each with the number of planned steps in its line, or None."""
    compiled = [(pattern, pattern.compiled) for pattern in form.patterns]
    points = []
    for line in lines:
        for pattern, expression in compiled:
            match = expression.search(line)
            if match and int(match["step"]) < LARGEST_STEP:
                points.append(_point(pattern, match.groupdict()))
    return points


def _point(pattern: Pattern, groups: dict[str, str | None]) -> tuple[LogPoint, int | None]:
    def number(name: str, scale: float = 1.0) -> float | None:
        text = groups.get(name)
        return None if text is None else float(text) * scale

    seconds = number("seconds")
    point = LogPoint(
        kind=pattern.kind,
        step=int(groups["step"] or 0) + pattern.first,
        loss=number("loss"),
        train_loss=number("train"),
        learning_rate=number("rate"),
        gradient_norm=number("norm"),
        seconds=number("milliseconds", 1e-3) if seconds is None else seconds,
        step_seconds=number("step_milliseconds", 1e-3),
    )
    return point, int(of) if (of := groups.get("of")) else None


def _log(form: LineForm, found: Sequence[tuple[LogPoint, int | None]], lines: Sequence[str]) -> Log:
    points, notes = resolve_restarts([point for point, _ in found])
    if any(point.step_seconds is not None for point in points):
        points = summed_steps(points)
    timed = any(point.seconds is not None and math.isfinite(point.seconds) for point in points)
    facts = _facts(form, lines)
    return Log(
        form=form.name,
        points=points,
        whole=form.whole,
        clock=form.clock if timed else "",
        planned_steps=found[-1][1],
        step_tokens=facts.get("step_tokens"),
        parameters=facts.get("parameters"),
        notes=tuple(notes),
    )


def _facts(form: LineForm, lines: Sequence[str]) -> dict[str, int]:
    """Return the values of `form.facts`; of several matches the last counts, because a restart logs them again."""
    found = {}
    for name, pattern in form.facts.items():
        expression = re.compile(pattern)
        for match in filter(None, map(expression.search, lines)):
            amount, unit = match[1].replace(",", ""), match[2] if expression.groups > 1 else ""
            try:
                found[name] = round(float(amount) * SIZES[unit])
            except (ValueError, OverflowError):
                continue
    return {name: value for name, value in found.items() if 0 < value < 1 << 63}


def _described(forms: dict[str, str]) -> str:
    return ", ".join(f"{about} ({name})" for name, about in forms.items())
