"""`lmlab evaluate`: score a model on a whole split."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

import tyro

from lmlab.cli.arguments import only_settings, parse, runs_folder, split_overrides
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Evaluate:
    """Score a run's model on a whole split: every token after the first is predicted once.

    With --on, for a text with a split of its own (a catalogue corpus, files named train and valid, a prepared data set) the
    validation split is scored, and for any other text all of it. The part that the run was trained on is reported.
    """

    target: tyro.conf.Positional[str]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init; hf:FOLDER for a local model of transformers, with --on."""
    on: str = ""
    """Another text (a catalogue name, a path, - or a data set's id), encoded with the run's tokenizer; default: the run's own data.
    --data.column, --data.separator and the like set how it is read, where that differs from the run's data."""
    split: Literal["", "train", "valid", "test", "all"] = ""
    """Which split, or all of the text; default: valid where the text comes with a split of its own, else all."""
    documents: bool = False
    """Score each document by itself: no token is predicted from an earlier document."""
    stride: int | None = None
    """Tokens from one window to the next, at most the context: a smaller one leaves each token more text before it, and takes
    longer; default: the context, so that windows don't overlap."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    json: bool = False
    """The figures as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, evaluate, print; return the exit status."""
    words, reading = split_overrides(arguments)
    only_settings(reading, ("data",), "lmlab evaluate")
    flags = parse(Evaluate, words, "lmlab evaluate")
    from lmlab.experiment.closing import figures_line
    from lmlab.experiment.duplicated import duplicates_line
    from lmlab.experiment.scoring import evaluate

    values = evaluate(
        flags.target,
        on=flags.on or None,
        split=flags.split or None,
        reading=reading,
        stride=flags.stride,
        alone=flags.documents,
        runs=runs_folder(flags.runs),
        device=flags.device,
        progress=progress_for(flags.json),
    )
    for warning in values["warnings"]:
        show(warning, file=sys.stderr)
    if flags.json:
        show_json(values)
    else:
        step = "" if values["step"] is None else f"@{values['step']}"
        show(figures_line(f"{values['run']}{step} on {values['scored']}", values))
        told = [values["trained_on_note"]] if values["trained_on_note"] else [duplicates_line(values)]
        show(*filter(None, told))
    return 0
