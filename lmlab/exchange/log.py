"""What a log of a training says, whatever its form: points of two kinds, each at a number of steps taken.

text -> points in the order of the lines -> what a restart took back is left out, clocks run on, equal points stand once
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["train", "evaluation"]
LARGEST_STEP = 10**12


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one line of a log says. A value that it doesn't say is None; one that is no finite number is NaN."""

    kind: Kind
    step: int
    """Updates made before it. The loss of a batch belongs to the update that it led to."""
    loss: float | None = None
    """Nats a token: of the training batch, or over validation text."""
    train_loss: float | None = None
    """Of an evaluation: the loss on training text."""
    accuracy: float | None = None
    """Of an evaluation: the share of validation tokens that were predicted right."""
    train_accuracy: float | None = None
    """The same on training text."""
    learning_rate: float | None = None
    gradient_norm: float | None = None
    seconds: float | None = None
    """By the log's own clock."""
    step_seconds: float | None = None
    """Of this one step."""
    tokens: int | None = None
    """Trained on by then."""
    segment: int = 0
    """How often the training had been taken up again by then."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """One training as its log tells it."""

    form: str
    points: tuple[Point, ...]
    label: str = ""
    """Which of several runs in the file."""
    whole: bool | None = None
    """Whether its evaluations are of the whole validation split; None where the form doesn't tell."""
    clock: str = ""
    """What its seconds are of; empty where it has none."""
    planned_steps: int | None = None
    step_tokens: int | None = None
    """Tokens of one step."""
    parameters: int | None = None
    epochs: bool = False
    """Whether its steps are epochs, since it counts nothing else."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how it was read."""


def resolve_restarts(points: Sequence[Point]) -> tuple[tuple[Point, ...], list[str]]:
    """Points as the training went in the end, by step; and a line where something was left out.

    Where steps go back, the training was taken up again from there: what stood beyond is dropped, and a clock that began
    anew goes on from there. Of two points of one kind and step the later counts.
    """
    kept: list[Point] = []
    segment, dropped, offset, raw = 0, 0, 0.0, -math.inf
    for point in points:
        if kept and point.step < kept[-1].step:
            segment += 1
            # An update that is made again also makes what was measured after it void.
            while kept and kept[-1].step >= point.step + (point.kind == "evaluation"):
                kept.pop()
                dropped += 1
        if point.seconds is not None and math.isfinite(point.seconds):
            if point.seconds < raw:
                offset = next((other.seconds for other in reversed(kept) if other.seconds is not None), 0.0)
            raw = point.seconds
            point = dataclasses.replace(point, seconds=offset + raw)
        kept.append(dataclasses.replace(point, segment=segment))
    last = {(point.kind, point.step): point for point in kept}
    notes = []
    if segment:
        times = "once" if segment == 1 else f"{segment} times"
        notes.append(f"the steps go back {times}: {dropped:,} points that were trained again are left out")
    return tuple(sorted(last.values(), key=lambda point: (point.step, point.kind == "evaluation"))), notes


def summed_steps(points: Sequence[Point]) -> tuple[Point, ...]:
    """Seconds for a log that has only those of single steps: each stands for all steps since the one before it.

    A step before which an evaluation was made has that in its time; the time of the last step without one takes its place.
    """
    evaluated = {point.step for point in points if point.kind == "evaluation"}
    times = {p.step: p.step_seconds for p in points if p.kind == "train" and p.step_seconds is not None}
    plain = [seconds for step, seconds in times.items() if step - 1 not in evaluated]
    if not plain:
        return tuple(points)
    total, at, pace, found = 0.0, 0, plain[0], []
    for point in points:
        if point.step in times and point.step - 1 not in evaluated:
            pace = times[point.step]
        total, at = total + (point.step - at) * pace, point.step
        found.append(dataclasses.replace(point, seconds=total))
    return tuple(found)
