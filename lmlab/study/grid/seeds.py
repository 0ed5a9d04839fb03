"""Which finished runs are seeds of one another, and which repeat an existing training.

A repeat is the same recipe, data and seed again, or a run whose last model scored every unit of the text with the same bits: a
setting that doesn't affect training, such as how often a run was evaluated, makes another recipe and the same model. A repeat has
no information about the spread between seeds, so it never counts as a second sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmlab.experiment.record import Record
from lmlab.study.scores import units_of


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """A run that repeats another."""

    record: Record
    of: Record
    same_bits: bool
    """Whether both models scored every unit with the same bits; otherwise recipe, data and seed are the same."""

    def line(self) -> str:
        """Return a line of text about the repeat."""
        if self.same_bits:
            return (
                f"{self.record.name} repeats {self.of.name}: their models give identical losses on every unit, and both count "
                "as one run"
            )
        return (
            f"{self.record.name} repeats {self.of.name}: the same recipe, data and seed ({self.record.seed}), computed with other "
            "rounding; both count as one run"
        )


def one_a_seed(records: Sequence[Record]) -> list[Record]:
    """Return the runs without repeats: the first of each training."""
    return _sorted_out(records)[0]


def repeats_among(records: Sequence[Record]) -> list[Repeat]:
    """Return the runs that `one_a_seed` leaves out, each with the one that counts; a run listed twice is no repeat."""
    return _sorted_out(records)[1]


def _sorted_out(records: Sequence[Record]) -> tuple[list[Record], list[Repeat]]:
    kept: dict[str, Record] = {}
    by_seed: dict[tuple[str, int], Record] = {}
    by_loss: dict[float, list[Record]] = {}
    repeats: dict[str, Repeat] = {}
    for record in records:
        if record.id in kept or record.id in repeats:
            continue
        loss = None if record.final is None else record.loss
        equal = (
            next((one for one in by_loss.get(loss, ()) if _same_bits(one, record)), None) if loss is not None else None
        )
        first = None if record.seed is None else by_seed.get((record.family, record.seed))
        if equal is not None or first is not None:
            repeats[record.id] = Repeat(record=record, of=equal or first or record, same_bits=equal is not None)
            continue
        kept[record.id] = record
        if record.seed is not None:
            by_seed[record.family, record.seed] = record
        if loss is not None:
            by_loss.setdefault(loss, []).append(record)
    return list(kept.values()), list(repeats.values())


def _same_bits(one: Record, other: Record) -> bool:
    """Return whether two runs with the same final loss have the same bits in every unit. True where a run has no units."""
    ours, theirs = units_of(one), units_of(other)
    if ours is None or theirs is None:
        return True
    return len(ours) == len(theirs) and np.array_equal(ours["bits"][:, -1], theirs["bits"][:, -1])
