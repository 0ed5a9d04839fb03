"""The regimes in which trainings end: whether validation loss still falls or has turned up, and its gap to the training loss.

A scale model or a shorter training attributes the difference at its own end. Where the full trainings end in another regime, as
when they overfit and it doesn't, their shares may differ; so both regimes are reported beside the shares.
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
from lmlab.study.explain.case import Reported

Course = Literal["falling", "level", "risen", "unknown"]
SAYS: Mapping[str, str] = {"falling": "still falls", "level": "neither falls nor rises", "risen": "has turned up"}
FEWEST_EVALUATIONS = 3
"""With fewer the course is unknown (`stats.still_falling`)."""


@dataclass(frozen=True, kw_only=True)
class RegimeEnding:
    """How trainings of one recipe end. Losses are in nats a token, means over the runs."""

    valid: float
    """The last model's validation loss."""
    train: float | None
    """The last evaluation's training loss, without dropout; None where unknown."""
    rise: float | None
    """The last validation loss minus the lowest one; None where unknown."""
    courses: Mapping[Course, int]
    """How many of the runs end in each course."""
    runs: tuple[str, ...] = ()
    """Their ids; empty where the losses were reported by others."""

    @property
    def gap(self) -> float | None:
        """Validation minus training loss."""
        return None if self.train is None else self.valid - self.train

    @property
    def course(self) -> Course:
        """The course of all runs; unknown where they differ."""
        return next(iter(self.courses)) if len(self.courses) == 1 else "unknown"

    def words(self) -> str:
        """Return losses, gap and course as text."""
        found = f"validation {self.valid:.4f}"
        if self.gap is not None:
            found += f", training {self.train:.4f} (gap {self.gap:+.4f})"
        return f"{found}, {self.course_words()}"

    def course_words(self) -> str:
        """Return the course of the validation loss at the end as text."""
        if self.course != "unknown":
            risen = f" ({self.rise:.4f} above its lowest)" if self.course == "risen" and self.rise is not None else ""
            return f"validation {SAYS[self.course]}{risen}"
        told = [f"{SAYS[kind]} in {count}" for kind, count in sorted(self.courses.items()) if kind in SAYS]
        if not told:
            return "whether validation still falls isn't known"
        return f"validation {', '.join(told)} of {sum(self.courses.values())} runs"

    def to_json(self) -> dict[str, Any]:
        """Return the value for explain.json."""
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
    """How the interpolating runs of one endpoint end, beside the full trainings that they stand for."""

    name: str
    """The endpoint's name."""
    interpolating: RegimeEnding
    whole: RegimeEnding | None
    """None where unknown."""
    checkpoint: int | None = None
    """The step at which the full training is taken, where that isn't its end."""

    @property
    def differs(self) -> bool:
        """Whether both courses are known and differ."""
        courses = {self.interpolating.course} if self.whole is None else {self.interpolating.course, self.whole.course}
        return len(courses) == 2 and "unknown" not in courses

    def line(self, what: str) -> str:
        """Return a line of text; `what` describes the interpolating runs, such as a scale model."""
        found = f"regime of {self.name}: the {what} ends at {self.interpolating.words()}; the full training "
        if self.whole is None:
            return f"{found}isn't known"
        found += f"{'ends' if self.whole.runs else 'was reported to end'} at {self.whole.words()}"
        return found + (f"; these are two regimes, so the shares are those of the {what}" if self.differs else "")

    def brief(self, what: str) -> str:
        """Return only the courses of both, for a figure."""
        whole = "not known" if self.whole is None else self.whole.course_words()
        return f"{self.name}, {what}: {self.interpolating.course_words()}; full: {whole}"

    def to_json(self) -> dict[str, Any]:
        """Return the value for explain.json."""
        whole = None if self.whole is None else self.whole.to_json()
        at = {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        return {"name": self.name, "bridging": self.interpolating.to_json(), "whole": whole, **at}


def ending_of(records: Sequence[Record]) -> RegimeEnding | None:
    """Return how these runs end; None where there is none, or one has no loss."""
    valid = [record.loss for record in records if record.loss is not None]
    if not records or len(valid) < len(records):
        return None
    train = [record.evaluations[-1].train_loss if record.evaluations else None for record in records]
    rises = [
        loss - min([loss, *(entry.valid_loss for entry in record.evaluations if math.isfinite(entry.valid_loss))])
        for record, loss in zip(records, valid, strict=True)
    ]
    return RegimeEnding(
        valid=_mean(valid),
        train=None if None in train else _mean([loss for loss in train if loss is not None]),
        rise=_mean(rises),
        courses=Counter(map(course_of, records)),
        runs=tuple(record.id for record in records),
    )


def reported_ending(reported: Reported | None) -> RegimeEnding | None:
    """Return the ending of reported losses: risen where the last is clearly above the lowest; None where nothing was reported."""
    if reported is None:
        return None
    rise = None if reported.best is None else reported.valid - reported.best
    risen = rise is not None and reported.best is not None and rise > LARGE_RISE * reported.best
    courses: dict[Course, int] = {"risen" if risen else "unknown": 1}
    return RegimeEnding(valid=reported.valid, train=reported.train, rise=rise, courses=courses)


def course_of(record: Record) -> Course:
    """Return the course of a run's validation loss at its end, by its verdict."""
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
