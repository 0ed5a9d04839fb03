"""`lmlab plan --score`: the accuracy of the forecasts of all finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.planning.forecasts.history import finished_runs
from lmlab.planning.forecasts.score import Quality, qualities
from lmlab.scaling.estimate import LEVEL
from lmlab.training.table import Part, table


@dataclass(frozen=True, kw_only=True)
class ForecastQuality:
    """Errors and coverage of each figure."""

    runs: int
    figures: tuple[Quality, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {"runs": self.runs, "level": LEVEL, "figures": [entry.to_json() for entry in self.figures]}

    def lines(self) -> list[Part]:
        """Return a table as lines."""
        rows = [
            (
                entry.figure,
                f"{entry.runs}",
                f"{entry.median_error:.1%}",
                f"{entry.error_80:.1%}",
                f"{entry.worst:.1%}",
                f"{entry.bias:+.1%}",
                _held(entry),
            )
            for entry in self.figures
        ]
        headings = ("figure", "runs", "median error", "80% below", "worst", "bias", "intervals that held")
        return [
            f"forecasts of {self.runs} finished runs against what was measured:",
            table(headings, rows, words=("figure", "intervals that held")),
        ]


def forecast_quality(runs: Path) -> ForecastQuality:
    """Return the quality over all finished runs in the folder; LabError where there are fewer than two."""
    scores = [run.score for run in finished_runs(runs) if run.score]
    if len(scores) < 2:
        raise LabError(f"{runs} has {len(scores)} finished runs with a forecast: expected two or more to score")
    return ForecastQuality(runs=len(scores), figures=tuple(qualities(scores)))


def _held(entry: Quality) -> str:
    if entry.coverage is None:
        return "none had one"
    return f"{entry.coverage:.0%} of {entry.intervals} (aimed at {LEVEL:.0%})"
