"""Score the forecast of a finished run, and over many runs the quality of forecasts on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lmlab.planning.forecasts.calibration import Calibration, calibration_of
from lmlab.recipe.quantities import duration
from lmlab.training.load import QUIET
from lmlab.training.wall import WORDS

CALIBRATED = ("total_seconds", "tokens_per_second", "peak_memory_bytes", "final_loss")
SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "total_seconds": ("time", duration),
    "peak_memory_bytes": ("memory", lambda value: f"{value / 1e6:,.0f} MB"),
    "final_loss": ("loss", lambda value: f"{value:.3f}"),
}
FEWEST = 2
"""Fewer scores of a figure have no meaningful quantiles."""


TIMES = ("total_seconds", "tokens_per_second")
"""Figures that other work on the machine affects."""
TRIED, TRAINED = "while steps were tried", "while it trained"
SINCE = "since"
"""A key of a forecast and its score: the time is wall time, counted from this event. Earlier versions have no such key: their time
was that of training, evaluation and saving alone."""
RESUMED = "resumed"
CORRECTED = "corrected_total_seconds"
"""The time by the forecast that was corrected by the run's first steps."""


def counts_wall_time(forecast: Any) -> bool:
    """Return whether the time in a forecast.json is wall time."""
    since = forecast.get(SINCE) if isinstance(forecast, dict) else None
    return isinstance(since, str) and since in WORDS


def score(
    forecast: Any, measured: Mapping[str, float], processor_share: float = 1.0, resumed: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the score for summary.json: of each figure that both have, forecast, measured, their ratio, and where there is an
    interval its limits and whether it held; `raw_ratio` is relative to the forecast before its correction by earlier runs.

    Times record when the machine was `busy`: while steps were tried, or while the run trained, with `processor_share`. A wall time
    records `since` when it counts, and `resumed` where several processes worked on the run; its `raw_ratio` is of the time
    remaining when the forecast was made.
    """
    kept = forecast if isinstance(forecast, dict) else {}
    figures = _object(kept.get("figures"))
    raw = _object(kept.get("raw"))
    found: dict[str, dict[str, Any]] = {}
    for name, what in measured.items():
        estimate = _object(figures.get(name))
        value = _number(estimate.get("value", kept.get(name)))
        if value is None or value <= 0 or not math.isfinite(what):
            continue
        found[name] = {"forecast": value, "measured": what, "ratio": what / value}
        low, high = _number(estimate.get("low")), _number(estimate.get("high"))
        if low is not None and high is not None:
            found[name] |= {"low": low, "high": high, "inside": low <= what <= high}
        before = _number(raw.get(name))
        passed = 0.0
        if name == "total_seconds" and counts_wall_time(kept):
            passed = _number(kept.get("start_seconds")) or 0.0
            found[name] |= {SINCE: kept[SINCE], RESUMED: resumed}
        if before is not None and before > passed and what > passed:
            found[name]["raw_ratio"] = (what - passed) / (before - passed)
        if name in TIMES and (_number(kept.get("processor_share")) or 1.0) < QUIET:
            found[name]["busy"] = TRIED
        elif name in TIMES and processor_share < QUIET:
            found[name]["busy"] = TRAINED
    correction = _object(kept.get("correction"))
    again = _number(correction.get("total_seconds"))
    if "total_seconds" in found and again:
        figures = {"total_seconds": {**correction, "value": again}}
        found[CORRECTED] = score({"figures": figures}, {"total_seconds": measured["total_seconds"]})["total_seconds"]
    return found


def score_line(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a run's score as one line, which marks the figures outside their intervals."""
    parts = []
    for name, (what, shown) in SHOWN.items():
        if name in found:
            entry = found[name]
            outside = "" if entry.get("inside", True) else ", outside the interval"
            parts.append(
                f"{what} {shown(entry['forecast'])}, measured {shown(entry['measured'])} (x{entry['ratio']:.2f}{outside}"
                f"{_corrected(found) if name == 'total_seconds' else ''})"
            )
    return f"forecast: {'; '.join(parts)}"


def _corrected(found: Mapping[str, Mapping[str, Any]]) -> str:
    entry = found.get(CORRECTED)
    return (
        ""
        if entry is None
        else f"; corrected by its first steps to {duration(entry['forecast'])}, x{entry['ratio']:.2f}"
    )


def calibrations_from(scores: Iterable[Mapping[str, Any]]) -> dict[str, Calibration]:
    """Return the calibrations of the next forecasts, by figure, from the scores of earlier runs on this machine.

    Runs whose trial steps were timed on a busy machine are excluded, since their forecast included the load. Runs disturbed later
    affect only the spread. Total times count only as wall times of a single process: earlier versions measured less, and a resume
    is another process.
    """
    listed = list(scores)
    found = {}
    for name in CALIBRATED:
        entries = [entry[name] for entry in listed if "raw_ratio" in entry.get(name, {})]
        if name == "total_seconds":
            entries = [entry for entry in entries if SINCE in entry and not entry.get(RESUMED)]
        ratios = {when: [one["raw_ratio"] for one in entries if one.get("busy") == when] for when in (None, TRAINED)}
        found[name] = calibration_of(name, ratios[None], ratios[TRAINED])
    return found


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good the forecasts of one figure were."""

    figure: str
    runs: int
    median_error: float
    """Median of |measured / forecast - 1|."""
    error_80: float
    """The same error at the 80 % quantile."""
    worst: float
    bias: float
    """The median of measured / forecast - 1: above 0 where forecasts were too small."""
    intervals: int
    """How many forecasts had an interval."""
    coverage: float | None
    """The share of those that held; None without any."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return asdict(self)


def qualities(scores: Iterable[Mapping[str, Any]]) -> list[Quality]:
    """Return the quality of each figure that was forecast in at least two runs, in the order in which the names first appear.

    A figure whose interval begins at 0 doesn't count: earlier versions wrote the logarithm of the vocabulary for an unknown loss.
    """
    listed = [{name: figure for name, figure in entry.items() if figure.get("low") != 0.0} for entry in scores]
    names = dict.fromkeys(name for entry in listed for name in entry)
    found = []
    for name in names:
        entries = [entry[name] for entry in listed if name in entry]
        ratios = np.array([entry["ratio"] for entry in entries])
        held = [entry["inside"] for entry in entries if "inside" in entry]
        if len(entries) < FEWEST:
            continue
        errors = np.abs(ratios - 1)
        found.append(
            Quality(
                figure=name,
                runs=len(entries),
                median_error=float(np.median(errors)),
                error_80=float(np.quantile(errors, 0.8)),
                worst=float(errors.max()),
                bias=float(np.median(ratios) - 1),
                intervals=len(held),
                coverage=sum(held) / len(held) if held else None,
            )
        )
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits else None
