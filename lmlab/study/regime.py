"""In what regime trainings end: whether validation still falls or has turned up, and how far it is above training.

A scale model or a shorter training shares out a difference as it does at its own end. Where the trainings that it stands for end in
another regime, as when these overfit and it doesn't, the shares need not be theirs; so both are told beside the shares.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmlab.experiment.record import Record
from lmlab.experiment.verdict import verdict_on
from lmlab.stats.turn import LARGE_RISE
from lmlab.study.case import Reported

Course = Literal["falling", "level", "risen", "unknown"]
SAYS: Mapping[str, str] = {"falling": "still falls", "level": "neither falls nor rises", "risen": "has turned up"}
FEWEST_EVALUATIONS = 3
"""Fewer don't tell a course (`stats.still_falling`)."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How trainings of one recipe end. Losses are in nats a token, means over the runs."""

    valid: float
    """Of the last model."""
    train: float | None
    """Of the last evaluation, dropout off; None where nobody knows."""
    rise: float | None
    """The last validation loss minus the lowest one; None where nobody knows."""
    courses: Mapping[Course, int]
    """How many of the runs end so."""
    runs: tuple[str, ...] = ()
    """Their ids; none where this was reported."""

    @property
    def gap(self) -> float | None:
        """Validation minus training loss."""
        return None if self.train is None else self.valid - self.train

    @property
    def course(self) -> Course:
        """What all runs do; unknown where they differ."""
        return next(iter(self.courses)) if len(self.courses) == 1 else "unknown"

    def words(self) -> str:
        """Losses, gap and course."""
        found = f"validation {self.valid:.4f}"
        if self.gap is not None:
            found += f", training {self.train:.4f} (gap {self.gap:+.4f})"
        return f"{found}, {self.course_words()}"

    def course_words(self) -> str:
        """What validation does at the end."""
        if self.course != "unknown":
            risen = f" ({self.rise:.4f} above its lowest)" if self.course == "risen" and self.rise is not None else ""
            return f"validation {SAYS[self.course]}{risen}"
        told = [f"{SAYS[kind]} in {count}" for kind, count in sorted(self.courses.items()) if kind in SAYS]
        if not told:
            return "whether validation still falls isn't known"
        return f"validation {', '.join(told)} of {sum(self.courses.values())} runs"

    def to_json(self) -> dict[str, Any]:
        """For explain.json."""
        return {
            "valid_loss": self.valid,
            "train_loss": self.train,
            "gap": self.gap,
            "rise": self.rise,
            "courses": dict(sorted(self.courses.items())),
            "runs": list(self.runs),
        }


@dataclass(frozen=True, kw_only=True)
class Regime:
    """How the bridging runs of one end go out beside the whole trainings that they stand for."""

    name: str
    """The end's."""
    interpolating: Ending
    whole: Ending | None
    """None where nobody knows."""
    checkpoint: int | None = None
    """The step at which the whole training is taken, where that isn't its end."""

    @property
    def differs(self) -> bool:
        """Whether both are known to end in different courses."""
        courses = {self.interpolating.course} if self.whole is None else {self.interpolating.course, self.whole.course}
        return len(courses) == 2 and "unknown" not in courses

    def line(self, what: str) -> str:
        """In words; `what` the bridging runs are, such as a scale model."""
        found = f"regime of {self.name}: the {what} ends at {self.interpolating.words()}; the whole training "
        if self.whole is None:
            return f"{found}isn't known"
        found += f"{'ends' if self.whole.runs else 'was reported to end'} at {self.whole.words()}"
        return found + (f"; these are two regimes, so the shares are those of the {what}" if self.differs else "")

    def brief(self, what: str) -> str:
        """The courses of both alone, for a picture."""
        whole = "not known" if self.whole is None else self.whole.course_words()
        return f"{self.name}, {what}: {self.interpolating.course_words()}; whole: {whole}"

    def to_json(self) -> dict[str, Any]:
        """For explain.json."""
        whole = None if self.whole is None else self.whole.to_json()
        at = {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        return {"name": self.name, "bridging": self.interpolating.to_json(), "whole": whole, **at}


def ending_of(records: Sequence[Record]) -> Ending | None:
    """How these runs end; None where there is none, or one has no loss."""
    valid = [record.loss for record in records if record.loss is not None]
    if not records or len(valid) < len(records):
        return None
    train = [record.evaluations[-1].train_loss if record.evaluations else None for record in records]
    rises = [
        loss - min([loss, *(entry.valid_loss for entry in record.evaluations if math.isfinite(entry.valid_loss))])
        for record, loss in zip(records, valid, strict=True)
    ]
    return Ending(
        valid=_mean(valid),
        train=None if None in train else _mean([loss for loss in train if loss is not None]),
        rise=_mean(rises),
        courses=Counter(map(course_of, records)),
        runs=tuple(record.id for record in records),
    )


def reported_ending(reported: Reported | None) -> Ending | None:
    """The same of what somebody reported: risen where the last loss is clearly above the lowest; None where nothing was."""
    if reported is None:
        return None
    rise = None if reported.best is None else reported.valid - reported.best
    risen = rise is not None and reported.best is not None and rise > LARGE_RISE * reported.best
    courses: dict[Course, int] = {"risen" if risen else "unknown": 1}
    return Ending(valid=reported.valid, train=reported.train, rise=rise, courses=courses)


def course_of(record: Record) -> Course:
    """What the validation loss of a run does at its end, by the verdict on it."""
    if len(record.evaluations) < FEWEST_EVALUATIONS:
        return "unknown"
    found = (record.summary or {}).get("verdict") or verdict_on(record.run, until=record.checkpoint)
    if found["kind"] in ("overfitting", "unstable"):
        return "risen"
    if found["kind"] == "unknown":
        return "unknown"
    return "falling" if found["still_falling"] else "level"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
