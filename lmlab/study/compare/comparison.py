"""Compare two or more runs: what differs, what each cost, which is better, and whether the difference exceeds noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmlab.evaluation.tasks.pairs import TaskPair
from lmlab.experiment.record import Record
from lmlab.study.compare.curves import Curve, Equal, Target
from lmlab.study.compare.differences import Differences
from lmlab.study.compare.pairs import Pair
from lmlab.study.compare.ratios import RatioRow
from lmlab.study.scores import Scale

FORMAT = 1
KIND = "comparison"
FIGURES: dict[Scale, str] = {"nats a token": "loss", "bits per byte": "bits_per_byte"}
"""The keys of a summary."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of a comparison."""

    reach: tuple[float, ...] = ()
    """Losses for which the cost of reaching them is listed."""
    alone: bool = False
    """Judge the named runs only, without other seeds of their recipes."""
    on: str = ""
    """A text on which all of them are scored (a catalogue name, a path or the id of a data set)."""
    split: str = ""
    """The split of that text: train, valid, test or all; empty: by the rule of `lmlab.experiment.scored_text`."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Settings for reading that text, where they differ from a run's own."""
    device: str = "auto"
    among: tuple[str, ...] | None = None
    """Ids of the runs that count as seeds; None for all in the runs' folders."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The trend of a run's curve at its end."""

    kind: str
    still_falling: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """The lowest and highest loss of a recipe's seeds at each of a run's evaluations."""

    seeds: int
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison."""

    names: tuple[str, ...]
    """The runs' names, each once."""
    records: tuple[Record, ...]
    scale: Scale | None
    """The scale on which losses can be compared; None where the runs were scored on different texts."""
    differences: Differences
    ratios: tuple[RatioRow, ...]
    curves: tuple[Curve, ...]
    """Empty where there is no scale."""
    bands: tuple[Band | None, ...]
    """A band for each curve; None where its recipe has one seed, and for all but the first of several named seeds."""
    scored: str
    """The tokens that the curves' losses are computed over, in words."""
    equal: tuple[Equal, ...]
    targets: tuple[Target, ...]
    trends: tuple[Trend, ...]
    warnings: tuple[str, ...]
    pairs: tuple[Pair, ...]
    task_pairs: tuple[TaskPair, ...]
    """Verdicts on stored results of benchmark tasks that both runs of a pair have."""
    samples: tuple[str, ...]
    """The last text that each model generated, empty for a log; no entries where losses can be compared."""
    asked: Asked
    among: tuple[str, ...]
    """Ids of the finished runs that were available as seeds."""

    @property
    def on(self) -> str:
        """The text that the verdicts are about; empty for the runs' own."""
        return self.asked.on

    @property
    def explained(self) -> Pair | None:
        """The first pair that `lmlab explain` accepts: with a verdict, of different recipes, neither continuing another run."""
        by_name = dict(zip(self.names, self.records, strict=True))
        for pair in self.pairs:
            both = [by_name[name] for name in (pair.first, pair.second) if name in by_name]
            fresh = all(record.recipe is not None and record.origin.get("parent") is None for record in both)
            if pair.verdict is not None and len({record.family for record in both}) == 2 and fresh:
                return pair
        return None

    @property
    def finals(self) -> tuple[float | None, ...]:
        """Each run's final loss over the whole split on the common scale; None before its end, or without a scale."""
        known = [
            record.final and record.final.get(FIGURES[self.scale]) if self.scale else None for record in self.records
        ]
        return tuple(float(value) if isinstance(value, float) else None for value in known)

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "recompute": "lmlab verify FILE --runs FOLDER, of a file with this in it",
            "asked": {
                "reach": list(self.asked.reach),
                "alone": self.asked.alone,
                "on": self.asked.on or None,
                "split": self.asked.split or None,
                "reading": dict(self.asked.reading),
                "device": self.asked.device,
                "among": list(self.among),
            },
            "runs": [
                {
                    **{"name": name, "id": record.id, "status": record.status},
                    **{"seed": record.seed, "family": record.family},
                    **({} if record.checkpoint is None else {"checkpoint": record.checkpoint}),
                }
                for name, record in zip(self.names, self.records, strict=True)
            ],
            "scale": self.scale,
            **self.differences.to_json(),
            "ratios": [row.to_json() for row in self.ratios],
            "curves_of": self.scored,
            "equal": [entry.to_json() for entry in self.equal],
            "reach": [entry.to_json() for entry in self.targets],
            "trends": [
                {"kind": entry.kind, "still_falling": entry.still_falling, "reason": entry.reason}
                for entry in self.trends
            ],
            "warnings": list(self.warnings),
            "on": self.on or None,
            "pairs": [pair.to_json() for pair in self.pairs],
            "tasks": [pair.to_json() for pair in self.task_pairs],
            "samples": list(self.samples),
        }
