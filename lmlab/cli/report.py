"""`lmlab report`: the curves of one run or several, as pictures."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from lmlab import LabError
from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.experiment.judging import lost_lines
from lmlab.report import CurveData, read_curves, write_report
from lmlab.runs import Run, open_run


@dataclass(frozen=True)
class Report:
    """Draw loss, learning rate and gradient norm of one run, or of several (at most 8) in one picture."""

    run: tyro.conf.Positional[tuple[str, ...]]
    """Runs by name or folder."""
    against: Literal["steps", "tokens"] = "steps"
    """What the horizontal axis counts."""
    format: Literal["png", "svg", "both"] = "both"
    """Which pictures to write."""
    output: str = ""
    """The folder for the pictures; default: report/ in the first run's folder."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The files, and each run's best, as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, draw, print."""
    flags = parse(Report, arguments, "lmlab report")
    if not flags.run:
        raise UsageError("lmlab report needs a run: name one or several (lmlab report RUN...)")
    runs, curves = zip(*(_read(reference, runs_folder(flags.runs)) for reference in flags.run), strict=True)
    folder = Path(flags.output) if flags.output else runs[0].folder / "report"
    files = write_report(curves, folder, flags.against, flags.format)
    if flags.json:
        found = [{**described(data), "id": run.id} for run, data in zip(runs, curves, strict=True)]
        show_json({"files": [str(path) for path in files], **(found[0] if len(found) == 1 else {"runs": found})})
        return 0
    show(*files)
    return 0


def described(data: CurveData) -> dict[str, Any]:
    """A run's best validation loss, and the step at which validation turned up (null where it didn't)."""
    best, turn = data.best(), data.turn()
    return {
        "run": data.name,
        "loss": best.loss if best else None,
        "step": best.step if best else None,
        "whole": best.whole if best else None,
        "turning_step": turn.step if turn and turn.rose else None,
    }


def _read(reference: str, runs: Path) -> tuple[Run, CurveData]:
    found, part = open_run(reference, runs)
    if part is not None:
        raise UsageError(f"lmlab report draws the whole run: give {found.name} without @{part}")
    lost = lost_lines(found)
    curves = read_curves(
        found.name,
        found.read_lines("metrics"),
        events=found.read_lines("events"),
        summary=found.summary(),
        claims=() if found.imported else found.recipe().claims,
        source=found.imported["file"] if found.imported else "",
    )
    if lost is not None:
        if curves.is_empty():
            raise LabError(lost)
        show(lost, file=sys.stderr)
    return found, curves
