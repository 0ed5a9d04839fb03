"""`lmlab resume`: continue a run exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tyro

from lmlab.cli.arguments import only_settings, parse, runs_folder, split_overrides
from lmlab.cli.clock import command_clock
from lmlab.cli.closing import print_outcome, speaker
from lmlab.cli.importing import import_uncollected
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Resume:
    """Continue a run bit for bit from its newest intact checkpoint.

    Policy may change (--train.device, --train.threads, --train.micro_batch, --train.precision...): the run then continues with the
    same batches, but not bit for bit, which is recorded in its folder.
    """

    target: tyro.conf.Positional[str]
    """The run: its folder, or its name."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    quiet: bool = False
    """No display, only the closing lines."""
    json: bool = False
    """The summary as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, resume, print; return 3 where a signal stopped the run after saving."""
    words, overrides = split_overrides(arguments)
    flags = parse(Resume, words, "lmlab resume")
    changes = only_settings(overrides, ("train", "evaluate"), "lmlab resume")
    import_uncollected("lmlab.experiment.resuming")
    from lmlab.training import parallel

    if parallel.rank() > 0:
        from lmlab.experiment.replica import take_part

        return take_part()
    with parallel.leading():
        return _lead(flags, changes)


def _lead(flags: Resume, changes: dict[str, Any]) -> int:
    from lmlab.experiment.resuming import resume
    from lmlab.training.display import make_display

    outcome = resume(
        flags.target,
        runs=runs_folder(flags.runs),
        changes=changes,
        display=make_display(flags.quiet, flags.json),
        progress=progress_for(flags.quiet or flags.json),
        say=speaker(flags.json, flags.quiet),
        clock=command_clock(),
    )
    return print_outcome(outcome, flags.json, flags.quiet)
