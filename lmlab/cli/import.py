"""`lmlab import log FILE`: someone else's log as a run without weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json

ACTIONS = ("log",)


@dataclass(frozen=True)
class ImportLog:
    """Make a run from the log of another project: without recipe and weights, for lmlab runs, report and compare.

    Forms: nanogpt, llmc, modded-nanogpt, bracketed, llms-from-scratch, epochs, csv. What the log lacks stays unknown.
    """

    file: tyro.conf.Positional[str]
    """The log, plain or .gz, .xz, .zst, .bz2."""
    run: str = ""
    """The run's name; default: the file's. A table of several runs makes NAME-1, NAME-2, ..., with the names in the table."""
    form: str = "auto"
    """The log's form; default: the form that most of its lines have."""
    step_tokens: int | None = None
    """Tokens of one step (batch x context), if known."""
    parameters: int | None = None
    """The model's number of parameters, if known."""
    corpus: str | None = None
    """What it was trained on, if known."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The runs made, as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, import, print; return the exit status."""
    action = arguments[0] if arguments else ""
    if action not in (*ACTIONS, "-h", "--help"):
        close = difflib.get_close_matches(action, ACTIONS, n=1)
        hint = "did you mean log?" if close else "expected lmlab import log FILE"
        raise UsageError(f"there is no 'lmlab import {action}': {hint}")
    flags = parse(ImportLog, arguments[1:] if action == "log" else ["--help"], "lmlab import log")
    from lmlab.exchange import import_log

    for name, value in (("--step-tokens", flags.step_tokens), ("--parameters", flags.parameters)):
        if value is not None and not 0 < value < 1 << 63:
            raise UsageError(f"{name} can't be {value}: expected at least 1")
    made = import_log(
        Path(flags.file),
        runs_folder(flags.runs),
        flags.run or None,
        flags.form,
        step_tokens=flags.step_tokens,
        parameters=flags.parameters,
        corpus=flags.corpus,
    )
    if flags.json:
        show_json([one.to_json() for one in made])
        return 0
    for one in made:
        show(*one.lines())
    show(f"draw {'it' if len(made) == 1 else 'them'}: lmlab report {' '.join(one.run.name for one in made[:8])}")
    return 0
