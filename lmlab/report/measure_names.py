"""The names of the figures of texts, and stored figures in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmlab.evaluation.measures.figures import FIGURES, IN_WORDS

UNKNOWN = "-"
NAMES: Mapping[str, str] = {
    "words": "words per text",
    **{name: f"repeated {name.rpartition('_')[2]}-grams" for name in FIGURES if name.startswith("repeated")},
    **{name: f"distinct {name.rpartition('_')[2]}-grams" for name in FIGURES if name.startswith("distinct")},
    "known": "known words",
    **{name: f"copied ({name.rpartition('_')[2]} words or more)" for name in FIGURES if name.startswith("copied_")},
    "copied_span": "copied span (words)",
    "longest_copy": "longest copy (words)",
    "bits_per_byte": "bits per byte (reference)",
}
IN_A_LINE = ("repeated_4", "distinct_2", "known", "copied_16", "longest_copy", "bits_per_byte")


def measures_line(figures: Mapping[str, Sequence[float | None]]) -> str:
    """Return the stored figures, [estimate, low, high] by name, as text for a page with other topics."""
    return ", ".join(
        f"{NAMES[name]} {shown(name, figures[name])}" for name in IN_A_LINE if name in figures and name in NAMES
    )


def shown(name: str, limits: Sequence[float | None], interval: bool = True) -> str:
    """Return a figure's estimate, with its interval unless that is unknown."""
    estimate, low, high = (math.nan if value is None else value for value in limits)
    if math.isnan(estimate):
        return UNKNOWN
    if not interval or math.isnan(low) or math.isnan(high):
        return _number(name, estimate)
    return f"{_number(name, estimate)} ({_number(name, low)} to {_number(name, high)})"


def _number(name: str, value: float) -> str:
    if name in IN_WORDS:
        return f"{value:.1f}"
    return f"{value:.3f}" if name == "bits_per_byte" else f"{value:.1%}"


def stored_lines(measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return lines with the figures of stored measurements, each followed by those of the real text beside it."""
    lines: list[str] = []
    for value in measured:
        lines.append(f"step {value['step']:,}: {measures_line(value['figures'])}")
        if value.get("real"):
            lines.append(f"real text beside it: {measures_line(value['real'])}")
    return lines
