"""`lmlab evaluate`: how good a model is on a whole split."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Evaluate:
    """Score a run's model on a whole split: every token after the first predicted once."""

    target: tyro.conf.Positional[str]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init."""
    on: str = ""
    """Another text (a catalogue name or a path), read with the run's tokenizer; default: the run's own data."""
    split: str = "valid"
    """Which split: train, valid or test."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    json: bool = False
    """The figures as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, evaluate, print."""
    flags = parse(Evaluate, arguments, "lmlab evaluate")
    from lmlab import experiment
    from lmlab.experiment.closing import figures_line
    from lmlab.experiment.duplicated import duplicates_line

    values = experiment.evaluate(
        flags.target,
        on=flags.on or None,
        split=flags.split,
        runs=runs_folder(flags.runs),
        device=flags.device,
        progress=progress_for(flags.json),
    )
    for warning in values["warnings"]:
        show(warning, file=sys.stderr)
    if flags.json:
        show_json(values)
    else:
        show(figures_line(f"{values['run']}@{values['step']} on {values['split']} of {values['data_id']}", values))
        if duplicates_line(values):
            show(duplicates_line(values))
    return 0
