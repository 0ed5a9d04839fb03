"""`lmlab prove`: replay steps of a run and compare them with the record."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.closing import speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json


@dataclass(frozen=True)
class Prove:
    """Replay steps of a run from one of its checkpoints, and compare every batch, line and tensor with the record.

    Nothing in the run's folder changes. Exit status 1 where anything differs, with the first differing step and tensor and the
    likely reasons; and where neither a line nor a checkpoint was recorded for these steps.
    """

    target: tyro.conf.Positional[str]
    """The run, or RUN@STEP for the checkpoint to begin from; default: the last one that can be replayed."""
    steps: int | None = None
    """How many steps; default: to the next kept checkpoint, or 100."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The result as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, replay, print; return 1 where something differs."""
    flags = parse(Prove, arguments, "lmlab prove")
    if flags.steps is not None and flags.steps < 1:
        raise UsageError(f"--steps {flags.steps}: expected 1 or more")
    from lmlab.experiment.proving import prove
    from lmlab.training.display import make_display

    proof = prove(
        flags.target,
        runs=runs_folder(flags.runs),
        steps=flags.steps,
        display=make_display(json=flags.json),
        say=speaker(json_output=flags.json, quiet=False),
    )
    if flags.json:
        show_json(proof.to_json())
    else:
        show(*proof.lines_to_read())
    return 0 if proof.equal else 1
