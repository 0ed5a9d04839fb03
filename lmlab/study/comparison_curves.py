"""Losses at equal steps, tokens, FLOPs, seconds and joules, and what it took to reach a loss: read off the curves of evaluations.

Between two evaluations a curve is a straight line of log loss over the log of what was spent, which is what loss curves are nearly;
nothing is read off beyond a curve's ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmlab.experiment.record import Record
from lmlab.optim import rate_share

Axis = Literal["steps", "tokens", "FLOPs", "seconds", "joules"]
AXES: tuple[Axis, ...] = ("steps", "tokens", "FLOPs", "seconds", "joules")
PHASES_APART = 0.2
"""Of the peak learning rate: by so much more than the other's, a run is in another phase of its schedule."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A run's losses and what had been spent on training by then; evaluations are in no count but that of joules."""

    name: str
    losses: tuple[float, ...]
    spent: dict[Axis, tuple[float, ...]]
    """By steps always; without what isn't known of a run: joules, and of an imported log more."""
    steps_are_epochs: bool = False

    def end(self, axis: Axis) -> float:
        """What was spent by the last evaluation."""
        return self.spent[axis][-1] if axis in self.spent and self.losses else 0.0

    def loss_at(self, axis: Axis, place: float) -> float | None:
        """The loss there; None before the first evaluation after the start, and beyond the last."""
        at, losses = self._drawn(axis)
        if not len(at) or not at[0] <= place <= at[-1] * (1 + 1e-12):
            return None
        return float(math.exp(np.interp(math.log(place), np.log(at), np.log(losses))))

    def reached(self, loss: float) -> Reached | None:
        """What it took to get to `loss` for the first time; None where it never did."""
        place = next((index for index, value in enumerate(self.losses) if value <= loss), None)
        if place is None:
            return None
        spent = {axis: self._crossing(axis, place, loss) for axis in self.spent}
        return Reached(spent=spent, at_most=place == 0 or self.spent["steps"][place - 1] <= 0)

    def _crossing(self, axis: Axis, place: int, loss: float) -> float:
        at = self.spent[axis]
        if place == 0 or at[place - 1] <= 0 or not math.isfinite(self.losses[place - 1]) or self.losses[place] <= 0:
            return at[place]
        before, after = math.log(self.losses[place - 1]), math.log(self.losses[place])
        share = (before - math.log(loss)) / (before - after)
        return math.exp((1 - share) * math.log(at[place - 1]) + share * math.log(at[place]))

    def _drawn(self, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
        at, losses = np.asarray(self.spent.get(axis, ())), np.asarray(self.losses)
        kept = np.isfinite(losses) & (losses > 0) & (at > 0) if len(at) else np.zeros(0, dtype=bool)
        return at[kept], losses[kept] if len(at) else np.zeros(0)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What a run had spent when it came to a loss."""

    spent: dict[Axis, float]
    at_most: bool
    """Whether it was there at its first evaluation after the start, so that it took no more than this."""


@dataclass(frozen=True, kw_only=True)
class Equal:
    """The losses of all runs where each had spent as much as the one that spent least."""

    axis: Axis
    spent: float
    losses: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"axis": self.axis, "spent": self.spent, "losses": list(self.losses)}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A loss, and what each run took to reach it."""

    loss: float
    reached: tuple[Reached | None, ...]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        reached = [None if entry is None else {**entry.spent, "at_most": entry.at_most} for entry in self.reached]
        return {"loss": self.loss, "reached": reached}


def curve_of(record: Record, name: str, losses: Sequence[float]) -> Curve:
    """The curve of a run with these losses, one an evaluation, above 0."""
    entries = record.evaluations
    whole = record.training_flops
    flops = whole / record.tokens if whole and record.tokens else None  # a token
    columns: dict[Axis, list[float | None]] = {
        "steps": [float(entry.step) for entry in entries],
        "tokens": [entry.tokens for entry in entries],
        "FLOPs": [None if flops is None or entry.tokens is None else flops * entry.tokens for entry in entries],
        "seconds": [entry.train_seconds for entry in entries],
        "joules": [entry.joules for entry in entries],
    }
    spent: dict[Axis, tuple[float, ...]] = {}
    for axis, values in columns.items():
        known = tuple(float(value) for value in values if value is not None)
        if len(known) == len(entries):
            spent[axis] = known
    return Curve(name=name, losses=tuple(losses), spent=spent, steps_are_epochs=record.steps_are_epochs)


def equal_budgets(curves: Sequence[Curve]) -> tuple[Equal, ...]:
    """On each axis that all runs have, at the end of the shortest."""
    found = []
    kinds = {curve.steps_are_epochs for curve in curves}
    for axis in AXES[len(kinds) - 1 :]:  # without steps, where some are epochs
        spent = min(curve.end(axis) for curve in curves)
        if spent > 0:
            found.append(Equal(axis=axis, spent=spent, losses=tuple(curve.loss_at(axis, spent) for curve in curves)))
    return tuple(found)


def targets(curves: Sequence[Curve], asked: Sequence[float]) -> tuple[Target, ...]:
    """What the losses that were asked for took, and the worst of the runs' last losses."""
    ends = [curve.losses[-1] for curve in curves if curve.losses and math.isfinite(curve.losses[-1])]
    losses = [*([max(ends)] if len(ends) == len(curves) else []), *asked]
    return tuple(Target(loss=loss, reached=tuple(curve.reached(loss) for curve in curves)) for loss in losses)


def unfair_places(records: Sequence[Record], curves: Sequence[Curve], budgets: Sequence[Equal]) -> tuple[str, ...]:
    """A line for each run whose learning rate is still up where it's compared with one whose rate has come down."""
    found: dict[int, list[tuple[Axis, float, float, str]]] = {}
    for budget in budgets:
        shares = {
            index: _share_at(record, curve, budget.axis, budget.spent)
            for index, (record, curve) in enumerate(zip(records, curves, strict=True))
            if record.recipe is not None and record.recipe.schedule.kind != "constant"  # whose rate never comes down
        }
        low = min(shares, key=lambda index: shares[index], default=0)
        for index, share in shares.items():
            if share - shares[low] > PHASES_APART:
                found.setdefault(index, []).append((budget.axis, share, shares[low], curves[low].name))
    lines = []
    for index, places in sorted(found.items()):
        axes, name = ", ".join(axis for axis, *_ in places), curves[index].name
        _, share, least, other = max(places, key=lambda place: place[1] - place[2])
        lines.append(
            f"unfair at equal {axes}: there {name}'s learning rate is still at {share:.0%} of its peak, {other}'s at {least:.0%}; "
            f"a loss falls most while the rate comes down, so {name} would stand lower with a schedule that ends there"
        )
    return tuple(lines)


def _share_at(record: Record, curve: Curve, axis: Axis, spent: float) -> float:
    """The share of the peak learning rate where the run had spent so much on an axis that it has."""
    step = round(float(np.interp(spent, curve.spent[axis], curve.spent["steps"])))
    recipe = record.known_recipe
    schedule = recipe.schedule
    # A length in epochs isn't in the recipe: the run's last step stands for it.
    steps_of_run = recipe.train.steps if recipe.train.epochs is None else record.step
    length = max(1, steps_of_run - schedule.start)
    return rate_share(schedule, length, min(max(0, step - schedule.start), length - 1))
