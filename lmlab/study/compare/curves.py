"""Losses at equal steps, tokens, FLOPs, seconds and joules, and the cost of reaching a loss, read from the curves of evaluations.

Between two evaluations log loss is interpolated linearly in the log of the cost, which nearly straightens loss curves; there is no
extrapolation beyond a curve's ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmlab.experiment.record import Record
from lmlab.optim.schedule import rate_share

Axis = Literal["steps", "tokens", "FLOPs", "seconds", "joules"]
AXES: tuple[Axis, ...] = ("steps", "tokens", "FLOPs", "seconds", "joules")
PHASES_APART = 0.2
"""Difference in the share of the peak learning rate beyond which two runs are in different phases of their schedules."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A run's losses and the training cost at each evaluation; the cost of evaluating counts only in joules."""

    name: str
    losses: tuple[float, ...]
    spent: dict[Axis, tuple[float, ...]]
    """Cost by axis. Always with steps; without axes that are unknown: joules, and more for an imported log."""
    steps_are_epochs: bool = False

    def end(self, axis: Axis) -> float:
        """Return the cost at the last evaluation."""
        return self.spent[axis][-1] if axis in self.spent and self.losses else 0.0

    def loss_at(self, axis: Axis, place: float) -> float | None:
        """Return the loss at that cost; None before the first evaluation after the start, and beyond the last."""
        at, losses = self._drawn(axis)
        if not len(at) or not at[0] <= place <= at[-1] * (1 + 1e-12):
            return None
        return float(math.exp(np.interp(math.log(place), np.log(at), np.log(losses))))

    def reached(self, loss: float) -> Reached | None:
        """Return the cost of reaching `loss` for the first time; None where it wasn't reached."""
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
    """A run's cost when it reached a loss."""

    spent: dict[Axis, float]
    at_most: bool
    """Whether the loss was reached by the first evaluation after the start, so that the cost is an upper limit."""


@dataclass(frozen=True, kw_only=True)
class Equal:
    """The losses of all runs at the cost of the one that spent least."""

    axis: Axis
    spent: float
    losses: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"axis": self.axis, "spent": self.spent, "losses": list(self.losses)}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A loss, and what each run spent to reach it."""

    loss: float
    reached: tuple[Reached | None, ...]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        reached = [None if entry is None else {**entry.spent, "at_most": entry.at_most} for entry in self.reached]
        return {"loss": self.loss, "reached": reached}


def curve_of(record: Record, name: str, losses: Sequence[float]) -> Curve:
    """Return the curve of a run with these losses (above 0), one for each evaluation."""
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
    """Compare losses at equal cost, on each axis that all runs have, at the end of the shortest run."""
    found = []
    kinds = {curve.steps_are_epochs for curve in curves}
    for axis in AXES[len(kinds) - 1 :]:  # without steps, where some are epochs
        spent = min(curve.end(axis) for curve in curves)
        if spent > 0:
            found.append(Equal(axis=axis, spent=spent, losses=tuple(curve.loss_at(axis, spent) for curve in curves)))
    return tuple(found)


def targets(curves: Sequence[Curve], asked: Sequence[float]) -> tuple[Target, ...]:
    """Return the costs of reaching the requested losses, and the highest of the runs' last losses."""
    ends = [curve.losses[-1] for curve in curves if curve.losses and math.isfinite(curve.losses[-1])]
    losses = [*([max(ends)] if len(ends) == len(curves) else []), *asked]
    return tuple(Target(loss=loss, reached=tuple(curve.reached(loss) for curve in curves)) for loss in losses)


def unfair_places(records: Sequence[Record], curves: Sequence[Curve], budgets: Sequence[Equal]) -> tuple[str, ...]:
    """Return a line for each run whose learning rate is still high where the other's has decayed."""
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
    """Return the share of the peak learning rate at which the run had spent so much on that axis."""
    step = round(float(np.interp(spent, curve.spent[axis], curve.spent["steps"])))
    recipe = record.known_recipe
    schedule = recipe.schedule
    # A length in epochs isn't in the recipe: the run's last step stands for it.
    steps_of_run = recipe.train.steps if recipe.train.epochs is None else record.step
    length = max(1, steps_of_run - schedule.start)
    return rate_share(schedule, length, min(max(0, step - schedule.start), length - 1))
