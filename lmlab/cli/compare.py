"""`lmlab compare`: compare runs, and separate differences from noise."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lmlab.cli.arguments import only_settings, parse, runs_folder, split_overrides
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for
from lmlab.runs.opening import TAGGED


@dataclass(frozen=True)
class Compare:
    """What differs between runs, what each cost, losses at equal budgets, and on each pair: better, worse or indistinguishable.

    All finished runs in the same folder that differ from a named one only in the seed count as its seeds. Why do they
    differ: lmlab explain RUN RUN.
    """

    run: tyro.conf.Positional[tuple[str, ...]]
    """Runs by name, folder or tag:TAG, each with @best, @latest, @init or @STEP where a checkpoint is meant: 2 to 8."""
    reach: Annotated[str, tyro.conf.arg(metavar="LOSSES")] = ""
    """Also show the cost of reaching these losses, such as 1.7,1.6 (the worst run's last loss is always shown)."""
    alone: bool = False
    """Compare only the named runs; other seeds of their recipes are used only to estimate the noise."""
    on: str = ""
    """Score all of them on this text (a catalogue name, a path, - or a data set's id) and compare those scores.
    --data.column, --data.separator and the like set how it is read, where that differs from the runs' data."""
    split: Literal["", "train", "valid", "test", "all"] = ""
    """With --on: which split, or all of the text; default: valid where the text comes with a split of its own, else all."""
    table: bool = False
    """Print one table of results instead: own loss, with --on the figures on that text, and the accuracies of the benchmark tasks
    that lmlab evaluate --tasks has stored. For 1 to 64 models, hf:FOLDER among them."""
    markdown: str = ""
    """With --table: write it as Markdown into this file, too."""
    plot: str = ""
    """Draw the curves against tokens, FLOPs and seconds into this file (.png or .svg)."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """For --on: cpu, cuda, mps or auto."""
    json: bool = False
    """Everything as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, compare, draw, print; return the exit status."""
    words, reading = split_overrides(arguments)
    only_settings(reading, ("data",), "lmlab compare")
    flags = parse(Compare, words, "lmlab compare")
    if flags.table:
        return _table(flags, reading)
    if flags.markdown:
        raise UsageError("--markdown needs --table")
    if len(flags.run) < 2 and not any(reference.startswith(TAGGED) for reference in flags.run):
        raise UsageError("lmlab compare needs two runs or more: lmlab compare RUN RUN...")
    if (flags.split or reading) and not flags.on:
        flag = "--split" if flags.split else f"--{next(iter(reading))}"
        raise UsageError(f"{flag} needs --on TEXT: without it runs are judged on their own validation splits")
    from lmlab.study.compare.comparing import compare
    from lmlab.study.compare.comparison import Asked

    losses = _losses(flags.reach)
    if flags.plot:
        from lmlab.report.comparison_figure import picture_kind, write_comparison

        picture_kind(Path(flags.plot))
    found = compare(
        flags.run,
        runs_folder(flags.runs),
        Asked(reach=losses, alone=flags.alone, on=flags.on, split=flags.split, reading=reading, device=flags.device),
        progress=progress_for(flags.json),
        say=lambda line: show(line, file=sys.stderr),
    )
    from lmlab.report.comparison_table import comparison_parts

    if not flags.json:
        show(*comparison_parts(found))
    if flags.plot:
        write_comparison(found, Path(flags.plot))
        if not flags.json:
            show(flags.plot)
    if flags.json:
        show_json({**found.to_json(), "plot": flags.plot or None})
    return 0


def _table(flags: Compare, reading: dict[str, Any]) -> int:
    for name in ("reach", "alone", "plot"):
        if getattr(flags, name):
            raise UsageError(f"--table and --{name} exclude each other: leave one of them out")
    if not flags.run:
        raise UsageError("lmlab compare --table needs a run: lmlab compare --table RUN RUN...")
    if (flags.split or reading) and not flags.on:
        raise UsageError(f"{'--split' if flags.split else f'--{next(iter(reading))}'} needs --on TEXT")
    from lmlab.report.results_table import results_parts, write_markdown
    from lmlab.study.results import results

    found = results(
        flags.run,
        runs_folder(flags.runs),
        on=flags.on,
        split=flags.split,
        reading=reading,
        device=flags.device,
        progress=progress_for(flags.json),
    )
    if flags.json:
        show_json(found.to_json())
    else:
        show(*results_parts(found))
    if flags.markdown:
        write_markdown(found, Path(flags.markdown))
    return 0


def _losses(text: str) -> tuple[float, ...]:
    """Parse losses such as 1.7,1.6; UsageError for anything else."""
    try:
        losses = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        losses = (0.0,)
    if not all(0.0 < loss < 1e6 for loss in losses):
        raise UsageError(f"--reach takes losses above 0, such as 1.7,1.6, got {text[:60]!r}")
    return losses
