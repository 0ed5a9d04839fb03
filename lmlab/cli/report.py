"""`lmlab report`: one run or several as pictures, as a page (HTML, Markdown), or their evaluations as a table."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from lmlab import LabError
from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json, show_text
from lmlab.experiment.judging import lost_lines
from lmlab.report import CurveData, write_report
from lmlab.report.measure_names import stored_lines
from lmlab.runs import Run, open_runs
from lmlab.runs.measures import all_measures


@dataclass(frozen=True)
class Report:
    """Draw loss, learning rate and gradient norm of one run, or of several (at most 8) in one picture; write everything that is
    known of up to 16 runs as one HTML file or as Markdown; or list the evaluations."""

    run: tyro.conf.Positional[tuple[str, ...]]
    """Runs by name or folder; RUN@best, RUN@latest and RUN@STEP end there."""
    to: Literal["pictures", "html", "md", "text", "csv", "json"] = "pictures"
    """pictures; html: one file that opens without a network, with interactive charts, cards of model, data and machine, forecasts,
    samples, verdicts and how to reproduce; md: the same as Markdown with pictures; or the evaluations as a table (text, csv or
    json) on standard output."""
    against: Literal["steps", "tokens"] = "steps"
    """The unit of the horizontal axis; html has a switch, and starts with this one."""
    format: Literal["png", "svg", "both"] = "both"
    """Which pictures to write."""
    output: str = ""
    """The folder for the files; default: report/ in the first run's folder."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The files, and of pictures each run's best, as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, draw, print; return the exit status."""
    flags = parse(Report, arguments, "lmlab report")
    if not flags.run:
        raise UsageError("lmlab report needs a run: name one or several (lmlab report RUN...)")
    if flags.to in ("text", "csv", "json") and (flags.json or flags.output):
        raise UsageError("--to text, csv and json write to standard output: leave out --json and --output")
    named = open_runs(flags.run, runs_folder(flags.runs))
    if flags.to in ("html", "md"):
        _write_page(flags, named, arguments)
        return 0
    if flags.to != "pictures":
        _print_evaluations(named, flags.to)
        return 0
    runs = [found for found, _ in named]
    curves = [_read(found, which) for found, which in named]
    folder = Path(flags.output) if flags.output else runs[0].folder / "report"
    files = write_report(curves, folder, flags.against, flags.format)
    if flags.json:
        entries = [
            {**described(data), "id": run.id, "measures": all_measures(run.folder)}
            for run, data in zip(runs, curves, strict=True)
        ]
        show_json({"files": [str(path) for path in files], **(entries[0] if len(entries) == 1 else {"runs": entries})})
        return 0
    show(*files)
    for run in runs:
        lines = stored_lines(all_measures(run.folder))
        show(*([f"texts of {run.name}", *lines] if lines else []))
    return 0


def _write_page(flags: Report, named: list[tuple[Run, str | None]], arguments: list[str]) -> None:
    from lmlab.report.page.writing import write_html, write_markdown

    folder = Path(flags.output) if flags.output else named[0][0].folder / "report"
    command = shlex.join(["lmlab", "report", *arguments])

    def say(line: str) -> None:
        show(line, file=sys.stderr)

    if flags.to == "html":
        files = [write_html(named, folder, flags.against, command, say)]
    else:
        files = write_markdown(named, folder, flags.against, flags.format, command, say)
    if flags.json:
        show_json({"files": [str(path) for path in files]})
    else:
        show(*files)


def _print_evaluations(named: list[tuple[Run, str | None]], to: str) -> None:
    from lmlab.experiment.evaluations import evaluations_json
    from lmlab.report.evaluations import evaluation_parts, evaluations_csv
    from lmlab.report.reading import record_of

    records = [record_of(found, which) for found, which in named]
    names = [found.name if which is None else f"{found.name}@{which}" for found, which in named]
    if to == "text":
        show(*evaluation_parts(records, names))
    elif to == "csv":
        show_text(evaluations_csv(records, names), end="")
    else:
        show_json(evaluations_json(list(zip(names, records, strict=True))))


def described(data: CurveData) -> dict[str, Any]:
    """Return a run's best validation loss, and the step at which validation turned up (None where it didn't)."""
    best, turn = data.best(), data.turn()
    return {
        "run": data.name,
        "loss": best.loss if best else None,
        "step": best.step if best else None,
        "whole": best.whole if best else None,
        "turning_step": turn.step if turn and turn.rose else None,
    }


def _read(run: Run, which: str | None) -> CurveData:
    from lmlab.report.reading import curves_of

    lost, curves = lost_lines(run), curves_of(run, which)
    if lost is not None:
        if curves.is_empty():
            raise LabError(lost)
        show(lost, file=sys.stderr)
    return curves
