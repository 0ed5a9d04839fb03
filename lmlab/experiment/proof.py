"""Compare a replay with the recorded run: lines and tensors, and the first difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmlab import LabError

COMPARED = {
    "train": ("batches", "loss", "gradient_norm", "learning_rate"),
    "evaluation": ("valid_loss", "valid_accuracy", "valid_tokens", "train_loss", "train_tokens"),
    "sample": ("prompt", "text"),
}
"""Kind of line -> the fields that must be equal, in the order in which they arise within a step."""


@dataclass(frozen=True, kw_only=True)
class FirstDifference:
    """The first difference from the record."""

    step: int
    what: str
    recorded: Any
    replayed: Any


@dataclass(frozen=True, kw_only=True)
class ComparedLines:
    """The result of comparing the lines of a replay."""

    lines: int
    """Lines of metrics and samples."""
    batches: int
    """Batches that the hash in the last compared line of training covers, from the first step on."""
    difference: FirstDifference | None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The result of a replay."""

    run: str
    first: int
    """The step of the checkpoint from which it began."""
    last: int
    lines: int
    """Lines of metrics and samples that were compared."""
    batches: int
    """Batches whose hash was compared."""
    tensors: int
    """Tensors that were compared; 0 where the replay ended at no checkpoint."""
    largest_difference: float | None
    """Over all tensors."""
    difference: FirstDifference | None
    reasons: tuple[str, ...]
    """What differs between the recorded segment and now, the likeliest cause first."""

    @property
    def equal(self) -> bool:
        """Whether all bits were equal."""
        return self.difference is None

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {"equal": self.equal, **dataclasses.asdict(self)}

    def lines_to_read(self) -> list[str]:
        """Return the result as lines of text."""
        span = f"steps {self.first:,} to {self.last:,} of {self.run}"
        if self.difference is None:
            counts = (
                f"{self.lines:,} {'line' if self.lines == 1 else 'lines'}, "
                f"{self.batches:,} {'batch' if self.batches == 1 else 'batches'}"
            )
            told = f"proven: {span} came out bit for bit as recorded: {counts}"
            if self.tensors:
                return [f"{told}, {self.tensors:,} tensors"]
            return [f"{told}. Only logged losses were compared; step {self.last:,} has no checkpoint."]
        found = self.difference
        shown = f"recorded {_shown(found.recorded)}, replayed {_shown(found.replayed)}"
        lines = [f"not proven: {span}: the first difference is at step {found.step:,}, {found.what}: {shown}"]
        if self.largest_difference:
            lines.append(f"the tensors at the end are up to {self.largest_difference:.3g} apart")
        return lines + [f"likely reason: {reason}" for reason in self.reasons]


def compare_lines(
    recorded: Sequence[dict[str, Any]], replayed: Sequence[dict[str, Any]], first: int, last: int
) -> ComparedLines:
    """Compare the lines of steps after `first` and up to `last`, up to the first difference.

    The evaluation of the last step isn't compared, since it comes after that step.
    """
    ours, theirs = (_by_place(lines, first, last) for lines in (recorded, replayed))
    kinds = list(COMPARED)
    places = sorted({*ours, *theirs}, key=lambda place: (place[0], kinds.index(place[1]), place[2]))
    hashed = [step for step, kind, _ in places if kind == "train" and "batches" in ours.get((step, kind, 0), {})]
    difference = next((found for place in places if (found := _difference(place, ours, theirs)) is not None), None)
    return ComparedLines(lines=len(places), batches=hashed[-1] - first if hashed else 0, difference=difference)


def require_something(
    run: str, recorded: Sequence[dict[str, Any]], checkpoints: Sequence[int], first: int, last: int
) -> None:
    """Raise LabError where a replay from `first` to `last` would have neither a line nor a checkpoint to be compared with."""
    if last in checkpoints or _by_place(recorded, first, last):
        return
    # An evaluation is compared once the step after it is replayed.
    later = (line for line in recorded if line["kind"] in COMPARED and line["step"] > first)
    next_line = min((line["step"] + (line["kind"] != "train") for line in later), default=None)
    next_checkpoint = min((step for step in checkpoints if step > first), default=None)
    there = [
        f"no line is recorded after step {first:,}" if next_line is None else f"its next line is of step {next_line:,}",
        f"and no checkpoint is kept after step {first:,}"
        if next_checkpoint is None
        else f"its next checkpoint of step {next_checkpoint:,}",
    ]
    wishes = [] if next_line is None else [f"--steps {next_line - first} or more"]
    wishes += [] if next_checkpoint is None else [f"--steps {next_checkpoint - first} for the checkpoint's tensors"]
    cure = f"use {', or '.join(wishes)}" if wishes else "begin at an earlier checkpoint"
    span = f"step {last:,}" if last == first + 1 else f"steps {first + 1:,} to {last:,}"
    raise LabError(f"nothing is recorded for {span} of {run} to compare with: {', '.join(there)}: {cure}")


def _difference(place: tuple[int, str, int], ours: dict[Any, Any], theirs: dict[Any, Any]) -> FirstDifference | None:
    step, kind, _ = place
    if place not in ours or place not in theirs:
        there = [lines.get(place, "no such line") for lines in (ours, theirs)]
        return FirstDifference(step=step, what=f"a line of kind {kind}", recorded=there[0], replayed=there[1])
    for name in COMPARED[kind]:
        if name in ours[place] and ours[place][name] != theirs[place].get(name):
            what = "the batches" if name == "batches" else f"{name} of the line of kind {kind}"
            return FirstDifference(step=step, what=what, recorded=ours[place][name], replayed=theirs[place].get(name))
    return None


def _shown(value: Any) -> str:
    return str(value)[:60]


def _by_place(lines: Sequence[dict[str, Any]], first: int, last: int) -> dict[tuple[int, str, int], dict[str, Any]]:
    """Return (step, kind, number among equal ones) -> line."""
    found: dict[tuple[int, str, int], dict[str, Any]] = {}
    for line in lines:
        if line["kind"] in COMPARED and first < line["step"] < last + (line["kind"] == "train"):
            number = sum(1 for step, kind, _ in found if (step, kind) == (line["step"], line["kind"]))
            found[line["step"], line["kind"], number] = line
    return found
