"""What a benchmark found, as values and as JSON: every sample, what was compared with what, and what was left out and why.

    {"format": 1, "part": "speed", "quick": false, "date": ..., "command": [...], "machine": {...}, "versions": {...},
     "source": {...}, "settings": {...}, "measurements": [...], "comparisons": [...], "skipped": [...]}

Medians, quartiles and ranges are written for people who read the file; reading it back computes them again from the samples.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.paired import paired_ratios, quartiles, spread
from lmlab import LabError
from lmlab.files import read_json, write_json

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One quantity of one side in one case, a sample a round."""

    case: str
    """What was measured, such as a shape: 0.8M T64 B12."""
    side: str
    """Whose: lmlab native, nanoGPT eager."""
    quantity: str
    """What the numbers are: training, generation, loss."""
    unit: str
    samples: tuple[float, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    """What belongs beside the figure: parameters, steps, learning rate."""

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    def to_json(self) -> dict[str, Any]:
        """All fields and their statistics."""
        return {
            **_plain(self),
            "median": self.median,
            "quartiles": list(quartiles(self.samples)),
            "spread": spread(self.samples),
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How many times as good one side was as another, round by round; above 1 the side was better."""

    case: str
    side: str
    against: str
    quantity: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """What is quoted."""
        return statistics.median(self.samples)

    def to_json(self) -> dict[str, Any]:
        """All fields and their statistics."""
        return {**_plain(self), "median": self.median, "range": [min(self.samples), max(self.samples)]}


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """What wasn't measured, or wasn't reached, and why."""

    case: str
    side: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """One run of one part of the benchmarks."""

    part: str
    quick: bool
    """A smoke run: its numbers mean nothing."""
    context: Mapping[str, Any]
    """Date, command, machine, versions, source: where and with what it ran."""
    settings: Mapping[str, Any]
    """What the command was asked to do."""
    measurements: tuple[Measurement, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def processor(self) -> str:
        """What computed: its name, and how PyTorch's use of it was limited."""
        machine = self.context["machine"]
        limits = sorted({str(value).upper() for value in machine.get("limits", {}).values()})
        return f"{machine['cpu']}{' held to ' + ', '.join(limits) if limits else ''}"

    def measurement(self, case: str, side: str, quantity: str) -> Measurement | None:
        """That measurement, where it was made."""
        wanted = (case, side, quantity)
        return next((entry for entry in self.measurements if (entry.case, entry.side, entry.quantity) == wanted), None)

    def comparison(self, case: str, side: str, against: str, quantity: str) -> Comparison | None:
        """That comparison, where it was made."""
        wanted = (case, side, against, quantity)
        found = (
            entry for entry in self.comparisons if (entry.case, entry.side, entry.against, entry.quantity) == wanted
        )
        return next(found, None)

    def cases(self) -> list[str]:
        """The cases in the order in which they were first measured, compared or skipped."""
        entries: list[Any] = [*self.measurements, *self.comparisons, *self.skipped]
        return list(dict.fromkeys(entry.case for entry in entries))

    def to_json(self) -> dict[str, Any]:
        """For the file."""
        return {
            "format": FORMAT,
            "part": self.part,
            "quick": self.quick,
            **self.context,
            "settings": dict(self.settings),
            "measurements": [entry.to_json() for entry in self.measurements],
            "comparisons": [entry.to_json() for entry in self.comparisons],
            "skipped": [_plain(entry) for entry in self.skipped],
        }


CONTEXT = ("date", "command", "machine", "versions", "source")


def compare(side: Measurement, against: Measurement) -> Comparison:
    """How many times as fast `side` was: a ratio of rates (units a second), or of times the other way round."""
    if side.unit != against.unit or side.case != against.case:
        raise LabError(
            f"{side.case} in {side.unit} can't be compared with {against.case} in {against.unit}: expected the same case and unit"
        )
    rates = side.unit.endswith("/s")
    ratios = paired_ratios(side.samples, against.samples) if rates else paired_ratios(against.samples, side.samples)
    return Comparison(
        case=side.case, side=side.side, against=against.side, quantity=side.quantity, samples=tuple(ratios)
    )


def compare_all(measurements: Sequence[Measurement], ours: str = "lmlab") -> tuple[Comparison, ...]:
    """Every side of ours (its name begins so) against every peer, where case and quantity are the same."""
    return tuple(
        compare(side, peer)
        for side in measurements
        for peer in measurements
        if side.side.startswith(ours)
        and not peer.side.startswith(ours)
        and (side.case, side.quantity, side.unit) == (peer.case, peer.quantity, peer.unit)
    )


def write_results(path: Path, results: Results) -> None:
    """Write the file, and its folder where there is none yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, results.to_json())


def read_results(path: Path) -> Results:
    """What `write_results` wrote; LabError where it's something else."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT or "measurements" not in value:
        raise LabError(f"{path} holds no results of a benchmark: expected a file that `python -m benchmarks.cpu` wrote")
    try:
        return Results(
            part=value["part"],
            quick=value["quick"],
            context={name: value[name] for name in CONTEXT},
            settings=value["settings"],
            measurements=tuple(Measurement(**_fields(Measurement, entry)) for entry in value["measurements"]),
            comparisons=tuple(Comparison(**_fields(Comparison, entry)) for entry in value["comparisons"]),
            skipped=tuple(Skipped(**_fields(Skipped, entry)) for entry in value["skipped"]),
        )
    except KeyError as error:
        raise LabError(f"{path} lacks {error}: expected a file that `python -m benchmarks.cpu` wrote") from None


def _plain(entry: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(entry).items()}


def _fields(kind: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    names = kind.__dataclass_fields__
    return {name: tuple(value[name]) if name == "samples" else value[name] for name in names}
