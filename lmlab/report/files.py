"""Write curves to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lmlab import LabError
from lmlab.report.curves import Against, CurveData

Format = Literal["png", "svg", "both"]
MOST_RUNS = 8  # as many colours as can be distinguished
LONGEST_STEM = 60


def write_report(
    curves: Sequence[CurveData], folder: Path, against: Against = "steps", pictures: Format = "both"
) -> list[Path]:
    """Draw the curves of one run, or of several in one picture, into `folder` (created if necessary); return the files.

    LabError where there are too many runs, or one without losses.
    """
    if not 1 <= len(curves) <= MOST_RUNS:
        raise LabError(f"one picture holds 1 to {MOST_RUNS} runs, got {len(curves)}: name fewer")
    for data in curves:
        if data.is_empty():
            raise LabError(f"run {data.name} has no losses yet: wait for its first line of metrics, or leave it out")
        if against == "tokens" and not data.counts_tokens:
            raise LabError(f"run {data.name} has no counts of the tokens it was trained on: draw it against steps")
    from lmlab.report.figure import draw_curves, write_figure

    kinds = ("svg", "png") if pictures == "both" else (pictures,)
    return write_figure(draw_curves(curves, against), folder, stem([data.name for data in curves]), kinds)


def stem(names: Sequence[str], what: str = "curves") -> str:
    """Return the name of a file about these runs: `what`, or "`what`-of-A-B" for several."""
    if len(names) == 1:
        return what
    together = f"{what}-of-{'-'.join(names)}"
    return together if len(together) <= LONGEST_STEM else f"{what}-of-{names[0][:30]}-and-{len(names) - 1}-more"
