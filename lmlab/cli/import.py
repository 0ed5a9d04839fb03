"""`lmlab import log FILE` and `lmlab import model PATH`: another project's log as a run without weights, and its model as a run."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for

ACTIONS = ("log", "model")
HELP = (
    "usage: lmlab import log FILE     another project's log as a run without weights",
    "       lmlab import model PATH   another project's model as a run",
    "lmlab import log --help and lmlab import model --help explain the flags.",
)


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


@dataclass(frozen=True)
class ImportModel:
    """Make a run from the model of another project, to evaluate, sample, compare, export, and train further (lmlab train --from).

    Forms: hf (a folder of transformers), nanogpt (ckpt.pt), book (LLMs-from-scratch's .pth), llmc (.bin), openai (GPT-2's
    release). Nothing in a file is executed. What lmlab's GPT can't express exactly is refused.
    """

    path: tyro.conf.Positional[str]
    """The model's folder or file."""
    run: str = ""
    """The run's name; default: the folder's or file's."""
    form: str = "auto"
    """The model's form; default: by its content."""
    heads: int | None = None
    """Attention heads, for the form book, whose files don't have their number."""
    tokenizer: str = ""
    """The tokenizer's file or folder (tokenizer.json, vocab.json and merges.txt, meta.pkl), where it isn't beside the model."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The run made, as JSON on standard output."""


def run(arguments: list[str]) -> int:
    """Parse, import, print; return the exit status."""
    action = arguments[0] if arguments else ""
    if action in ("", "-h", "--help"):
        show(*HELP)
        return 0 if action else 2
    if action not in ACTIONS:
        close = difflib.get_close_matches(action, ACTIONS, n=1)
        hint = f"did you mean {close[0]}?" if close else "expected lmlab import log FILE or lmlab import model PATH"
        raise UsageError(f"there is no 'lmlab import {action}': {hint}")
    return _log(arguments[1:]) if action == "log" else _model(arguments[1:])


def _model(arguments: list[str]) -> int:
    flags = parse(ImportModel, arguments, "lmlab import model")
    from lmlab.exchange.models.foreign import Given
    from lmlab.experiment.model_import import import_model

    if flags.heads is not None and flags.heads < 1:
        raise UsageError(f"--heads can't be {flags.heads}: expected at least 1")
    made = import_model(
        Path(flags.path),
        runs_folder(flags.runs),
        flags.run or None,
        flags.form,
        Given(heads=flags.heads, tokenizer=Path(flags.tokenizer) if flags.tokenizer else None),
        progress_for(quiet=flags.json),
    )
    if flags.json:
        show_json(made.to_json())
        return 0
    show(*made.lines())
    name = made.run.name
    show(f"score it: lmlab evaluate {name} --on TEXT   train it: lmlab train --from {name} --data.corpus TEXT")
    return 0


def _log(arguments: list[str]) -> int:
    flags = parse(ImportLog, arguments, "lmlab import log")
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
