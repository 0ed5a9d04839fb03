"""`lmlab events`: the events of a run."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.printing import show, show_json


@dataclass(frozen=True)
class Events:
    """The history of a run: starts, resumes, stops with their reason, the finish, branches, spikes, skipped updates, rewinds.

    With --box STEP, the black box of a spike: the steps before it, the layers it affected, and the texts of its batch.
    """

    target: tyro.conf.Positional[str]
    """The run: its folder, or its name."""
    box: int = -1
    """Show the black box of this step."""
    all: bool = False
    """Include checkpoints."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, read, print; return the exit status."""
    flags = parse(Events, arguments, "lmlab events")
    from lmlab.experiment.timeline import events_of
    from lmlab.report.events import black_box_lines, event_lines
    from lmlab.runs import open_run
    from lmlab.runs.black_boxes import read_black_box

    opened, _ = open_run(flags.target, runs_folder(flags.runs))
    if flags.box >= 0:
        box = read_black_box(opened.folder, flags.box)
        if flags.json:
            show_json(box)
        else:
            show(*black_box_lines(box))
        return 0
    events = events_of(opened, checkpoints=flags.all or flags.json)
    if flags.json:
        show_json(events)
    else:
        show(*event_lines(opened, events))
    return 0
