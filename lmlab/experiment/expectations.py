"""Expected ranges of a run's figures, given before it begins and scored after it: `--expect valid_perplexity=25..30`.

They are kept in origin.json, which is written once, so that they can't be changed afterwards.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.experiment.claims import VALIDATION, WORDS
from lmlab.experiment.ranges import Range, parse_range
from lmlab.recipe.override import nearest
from lmlab.recipe.quantities import duration, seconds_in

METRICS = {**VALIDATION, "valid_bits_per_byte": "bits_per_byte", "time": "time"}
"""Possible metrics -> their names among the best model's figures; time is that of the whole run."""
EXAMPLE = (
    "expected METRIC=LOW..HIGH such as valid_perplexity=25..30, valid_loss=..1.5, valid_accuracy=36%.. or time=1h..2h"
)
MOST = 20


@dataclass(frozen=True, kw_only=True)
class ExpectedRange:
    """A metric with its expected limits; None for no limit on that side. Times are in seconds."""

    metric: str
    low: float | None
    high: float | None

    def scored(self, best: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return the measured value, and whether the expectation held, from the best model's figures and the time of the run."""
        found = seconds if self.metric == "time" else best[METRICS[self.metric]]
        known = found is not None and math.isfinite(found)
        return {
            **dataclasses.asdict(self),
            "measured": found if known else None,
            "step": None if self.metric == "time" else best["step"],
            "held": known and Range(low=self.low, high=self.high).off(found) == 0.0,
        }


def parse_expectations(texts: Sequence[str]) -> tuple[ExpectedRange, ...]:
    """Parse expectations such as `valid_loss=1.4..1.5`; LabError for an invalid one, or a metric named twice."""
    found = tuple(map(_parsed, texts))
    names = [entry.metric for entry in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise LabError(f"--expect names {twice[0]} twice: expected one range for each metric")
    return found


def read_expectations(value: Any) -> tuple[ExpectedRange, ...]:
    """Read `expected` of origin.json; LabError where it is damaged. Older runs have none."""
    if value is None:
        return ()
    try:
        found = tuple(
            ExpectedRange(metric=entry["metric"], low=_limit(entry["low"]), high=_limit(entry["high"]))
            for entry in value[:MOST]
        )
    except (KeyError, TypeError, ValueError):
        found = (ExpectedRange(metric="", low=None, high=None),)
    if any(entry.metric not in METRICS for entry in found):
        raise LabError(
            "origin.json is damaged: expected ranges of metrics under 'expected'; take it from a copy of the run"
        )
    return found


def expectation_line(entry: Mapping[str, Any]) -> str:
    """Return a scored expectation as text."""
    what, shown = _words(entry["metric"])
    wanted, measured = Range(low=entry["low"], high=entry["high"]).words(shown), entry["measured"]
    if measured is None:
        return f"expected {what} {wanted}: unknown for this run"
    where = "" if entry["step"] is None else f" (best, step {entry['step']:,})"
    return f"expected {what} {wanted}: {'held' if entry['held'] else 'missed'}, measured {shown(measured)}{where}"


def _parsed(text: str) -> ExpectedRange:
    name, _, limits = (part.strip() for part in text.partition("="))
    if len(text) > 100 or ".." not in limits:
        raise LabError(f"--expect {text[:60]!r} can't be read: {EXAMPLE}")
    metric = name if name in METRICS else f"valid_{name}"
    if metric not in METRICS:
        raise LabError(f"--expect has no metric {name[:40]!r}: {nearest(name, list(METRICS))}")
    found = parse_range(limits, lambda limit: _number(metric, limit, text))
    if found is None or found.empty:
        raise LabError(f"--expect {text[:60]!r} has no range: {EXAMPLE}")
    return ExpectedRange(metric=metric, low=found.low, high=found.high)


def _number(metric: str, text: str, whole: str) -> float:
    if metric == "time":
        try:
            return seconds_in(text)
        except LabError as error:
            raise LabError(f"--expect {whole[:60]!r}: {error}") from None
    percent = metric == "valid_accuracy" and text.endswith("%")
    try:
        value = float(text.removesuffix("%") if percent else text) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LabError(f"--expect {whole[:60]!r} can't be read: {EXAMPLE}")
    return value


def _words(metric: str) -> tuple[str, Callable[[float], str]]:
    """Return a metric's name, and the format of its numbers."""
    if metric == "time":
        return "time", duration
    if metric == "valid_bits_per_byte":
        return "bits per byte", lambda value: f"{value:.4f}"
    what, form = WORDS[metric]
    return what, lambda value: f"{value:{form}}"


def _limit(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("no limit")
    return float(value)
