"""The content of a report as plain values, from which HTML and Markdown are written. Nothing in it is escaped."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Axis = Literal["steps", "tokens", "FLOPs", "seconds"]
AXES: tuple[Axis, ...] = ("steps", "tokens", "FLOPs", "seconds")
Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One statement with the file that it comes from."""

    name: str
    value: str | float | int | None
    """As in the file, or computed from it."""
    shown: str
    """`value` as text, without its unit."""
    unit: str = ""
    source: str
    """The run and the file: "base-small/summary.json: final.loss"."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts under one heading."""

    title: str
    facts: tuple[Fact, ...] = ()
    lines: tuple[str, ...] = ()
    """Further statements, in words."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A published or forecast value beside the measured one."""

    what: str
    kind: Literal["published", "forecast"]
    unit: str
    expected: float
    low: float | None = None
    high: float | None = None
    measured: float | None
    """None before the end of the run, or where nothing comparable was measured."""
    note: str = ""
    source: str


@dataclass(frozen=True, kw_only=True)
class Places:
    """The positions of a curve's points on each axis; NaN where unknown."""

    steps: Numbers
    tokens: Numbers
    flops: Numbers
    seconds: Numbers

    def on(self, axis: Axis) -> Numbers:
        """Return the positions on one axis."""
        found: Numbers = getattr(self, axis.lower())
        return found

    def at(self, kept: NDArray[np.intp]) -> Places:
        """Return those of some points."""
        return Places(**{axis.lower(): self.on(axis)[kept] for axis in AXES})


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve of a chart."""

    name: str
    """In the legend."""
    group: int
    """Runs that differ only in the seed have the same number, which chooses the colour."""
    quantity: str
    """What was measured, such as "validation loss"."""
    style: Literal["line", "thin", "dashed", "points"] = "line"
    places: Places
    values: Numbers
    low: Numbers | None = None
    """The limits of a band around the curve."""
    high: Numbers | None = None
    source: str

    def last(self) -> float | None:
        """Return the last finite value."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite[-1]) if len(finite) else None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An event at a point of a chart."""

    run: str
    group: int
    what: str
    places: Places
    """Of one point."""
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Level:
    """A published or forecast value that belongs to no point of an axis: a horizontal line."""

    words: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One quantity of all runs against the costs of training."""

    key: str
    title: str
    unit: str
    logarithmic: bool = False
    """Whether the vertical axis starts as logarithmic."""
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    levels: tuple[Level, ...] = ()
    note: str = ""

    def axes(self) -> tuple[Axis, ...]:
        """Return the axes on which every curve has positions."""
        return tuple(
            axis
            for axis in AXES
            if all(np.isfinite(line.places.on(axis)).all() for line in self.lines if len(line.values))
        )


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under headings, with the file that they come from."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    """Columns of numbers, which are aligned to the right."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a run wrote after a prompt during its training."""

    step: int
    tokens: int | None
    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class RunPart:
    """What is reported of one run alone."""

    name: str
    group: int
    status: str
    folder: str
    about: str
    note: str
    tags: tuple[str, ...]
    cards: tuple[Card, ...]
    held: tuple[Held, ...]
    evaluations: Table | None
    tables: tuple[Table, ...]
    """Tasks, texts and measures, where they are stored."""
    events: tuple[str, ...]
    samples: tuple[Sample, ...]
    samples_source: str
    command: str
    """The command line that began the run; empty where unknown."""
    commit: str
    recipe: str
    """The text of recipe.toml; empty for an imported log."""
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Several runs beside each other."""

    differences: Table | None
    same: str
    """How many things are the same, in words."""
    verdicts: tuple[tuple[str, str], ...] = ()
    """For each pair the verdict and its reason."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """A report."""

    title: str
    created: str
    version: str
    command: str
    groups: tuple[str, ...]
    """The name of each group of runs that differ only in the seed."""
    overview: Table
    charts: tuple[Chart, ...]
    runs: tuple[RunPart, ...]
    compared: Compared | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def number(value: float | int | None, digits: int = 4) -> str:
    """Return a number as text: integers with commas, others with `digits` decimals or as many significant digits; - for None.

    >>> number(1600), number(4.5534530), number(3.2e-5), number(None), number(3397.997)
    ('1,600', '4.5535', '3.2e-05', '-', '3,398')
    """
    if value is None or not math.isfinite(value):
        return "-" if value is None else "not finite"
    if isinstance(value, int) or float(value).is_integer():
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}f}" if abs(value) >= 0.01 else f"{value:.3g}"


def thinned(table: Table, most: int) -> Table:
    """Return a table of at most `most` (2 or more) rows, evenly chosen, the first and the last kept; its caption tells."""
    count = len(table.rows)
    if count <= most:
        return table
    kept = sorted({place * (count - 1) // (most - 1) for place in range(most)})
    return replace(
        table,
        caption=f"{table.caption}: {len(kept)} of {count:,}, all with lmlab report --to csv",
        rows=tuple(table.rows[place] for place in kept),
    )


def no_places(count: int) -> Numbers:
    """Return positions that are unknown."""
    return np.full(count, math.nan)


def finite(values: Numbers) -> list[float | None]:
    """Return values for JSON: six significant digits, None where one isn't finite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
