"""Which training each side runs to reach which loss, or to fill which time: benchmarks/loss_targets.toml as values."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.nanogpt_command import Training
from lmlab import LabError

FILE = Path(__file__).with_name("loss_targets.toml")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A training of lmlab."""

    name: str
    """What tells it from the others, such as `with tables`."""
    recipe: str
    steps: int
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A loss to reach, or minutes to use well."""

    corpus: str
    loss: float | None
    minutes: float | None
    variants: tuple[Variant, ...]
    nanogpt: Training | None
    nanogpt_seeds: tuple[int, ...] | None
    """None: every seed."""
    like: float | None
    """On a second corpus: the loss on the first whose goal this one stands for."""

    @property
    def case(self) -> str:
        """As the tables have it."""
        if self.loss is not None:
            return f"{self.corpus} to {self.loss:g}"
        return f"{self.corpus} in {self.minutes:g} min"


def read_goals(corpus: str, path: Path = FILE) -> tuple[Goal, ...]:
    """The goals on that corpus; LabError for a corpus that the file doesn't have, and for a table that it can't mean."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    if corpus not in table:
        raise LabError(f"{path.name} has no goals on '{corpus}': expected one of {', '.join(table)}")
    return tuple(_goal(corpus, entry) for entry in table[corpus])


def _goal(corpus: str, entry: Mapping[str, Any]) -> Goal:
    if ("loss" in entry) == ("minutes" in entry):
        raise LabError(f"a goal on {corpus} has {', '.join(entry)}: expected either loss or minutes")
    theirs = entry.get("nanogpt")
    training = None
    if theirs is not None:
        training = Training(learning_rate=theirs["learning_rate"], max_iters=theirs["max_iters"])
    return Goal(
        corpus=corpus,
        loss=entry.get("loss"),
        minutes=entry.get("minutes"),
        variants=tuple(Variant(name=name, **values) for name, values in entry.get("lmlab", {}).items()),
        nanogpt=training,
        nanogpt_seeds=tuple(theirs["seeds"]) if theirs and "seeds" in theirs else None,
        like=entry.get("like"),
    )
