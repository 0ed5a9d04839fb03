"""The content of a training log of any form: points of two kinds, each at a number of steps taken.

text -> points in the order of the lines -> points after restarts: undone ones dropped, clock continuous, duplicates merged
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
class LogPoint:
    """The values in one line of a log. A value that it doesn't have is None; one that isn't finite is NaN."""

    kind: Kind
    step: int
    """Number of updates made. The loss of a batch is counted with the update that it leads to."""
    loss: float | None = None
    """Nats a token, of the training batch or over validation text."""
    train_loss: float | None = None
    """In an evaluation, the loss on training text."""
    accuracy: float | None = None
    """In an evaluation, the share of validation tokens that were predicted correctly."""
    train_accuracy: float | None = None
    """The same on training text."""
    learning_rate: float | None = None
    gradient_norm: float | None = None
    seconds: float | None = None
    """Cumulative seconds by the log's clock."""
    step_seconds: float | None = None
    """Seconds of this step."""
    tokens: int | None = None
    """Tokens trained on so far."""
    segment: int = 0
    """Number of restarts of the training before this point."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """One training as read from its log."""

    form: str
    points: tuple[LogPoint, ...]
    label: str = ""
    """Name of the run if the file has several."""
    whole: bool | None = None
    """Whether evaluations are over the whole validation split; None if the form doesn't determine it."""
    clock: str = ""
    """What the log's seconds include; empty if it has none."""
    planned_steps: int | None = None
    step_tokens: int | None = None
    """Tokens of a step."""
    parameters: int | None = None
    epochs: bool = False
    """Whether steps are epochs, because the log counts nothing else."""
    notes: tuple[str, ...] = ()
    """Notes for the user about how the log was read."""


def resolve_restarts(points: Sequence[LogPoint]) -> tuple[tuple[LogPoint, ...], list[str]]:
    """Return the points sorted by step, without those that a restart repeats, and notes about dropped points.

    If steps decrease, the training was restarted from there: later points so far are dropped, and a clock that was reset continues
    from there. Of two points of the same kind and step the later counts.
    """
    kept: list[LogPoint] = []
    segment, dropped, offset, raw = 0, 0, 0.0, -math.inf
    for point in points:
        if kept and point.step < kept[-1].step:
            segment += 1
            # An update that is repeated also invalidates evaluations after it.
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


def summed_steps(points: Sequence[LogPoint]) -> tuple[LogPoint, ...]:
    """Compute cumulative seconds for a log with times of single steps only: each is used for all steps since the previous one.

    The time of a step right after an evaluation includes the evaluation; the time of the previous other step is used instead.
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
