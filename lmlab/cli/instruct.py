"""`lmlab instruct`: tune a trained model on conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tyro

from lmlab.cli.arguments import parse, recipe_shown, runs_folder, split_overrides
from lmlab.cli.clock import command_clock
from lmlab.cli.closing import print_outcome, speaker
from lmlab.cli.importing import import_uncollected
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Instruct:
    """Tune a run's model on instructions or chats: once an epoch the whole validation split is scored, and the best model is kept.

    The result is a run of its own, with its parent and its template recorded. Every field of the recipe is a flag too, under its
    dotted name: --data.template chatml --data.targets response --train.epochs 3 --optim.lr 5e-5.
    """

    parent: tyro.conf.Positional[str]
    """RUN or RUN@STEP: the trained or imported model."""
    data: str = ""
    """Conversations: JSON, JSONL or parquet of Alpaca's records (instruction, input, output) or of chats (messages), a folder of
    such files, or a prepared data set."""
    recipe: str = ""
    """A recipe (instruct-1100, alpaca, smol-smoltalk) or its .toml file, of which everything but the model is used; default: the
    parent's optimizer with .8 of its rate, which falls to zero."""
    run: str = ""
    """The new run's name; default: the recipe's name and a number."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    plan: bool = False
    """Only plan: will it fit, how long; nothing is trained."""
    or_resume: bool = False
    """Continue the run if it exists already with the same recipe."""
    expect: tuple[str, ...] = ()
    """Expected ranges of the run's results, such as valid_loss=..1.5; may be repeated."""
    note: str = ""
    """A note to keep with the run."""
    quiet: bool = False
    """No display, only the closing lines."""
    json: bool = False
    """The summary as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, tune, print; return 3 where a signal stopped the run after saving."""
    words, overrides = split_overrides(arguments)
    flags = parse(Instruct, words, "lmlab instruct", recipe_shown(words, overrides))
    import_uncollected("lmlab.experiment.start")
    from lmlab.training import parallel

    if parallel.rank() > 0:
        from lmlab.experiment.replica import take_part

        return take_part()
    with parallel.leading():
        return _lead(flags, overrides)


def _lead(flags: Instruct, overrides: dict[str, Any]) -> int:
    from lmlab.cli.errors import UsageError
    from lmlab.experiment.expectations import parse_expectations
    from lmlab.experiment.instruct import tuning_of
    from lmlab.experiment.start import train, train_or_resume
    from lmlab.runs import check_note, require_free_name
    from lmlab.training.display import make_display

    root = runs_folder(flags.runs)
    parse_expectations(flags.expect)
    check_note(flags.note)
    if flags.or_resume and not flags.run:
        raise UsageError("--or-resume needs --run NAME: which run to continue, or to start")
    if flags.run and not flags.or_resume:
        require_free_name(root, flags.run)
    say = speaker(json_output=flags.json, quiet=flags.quiet)
    progress = progress_for(quiet=flags.quiet or flags.json)
    tuning = tuning_of(flags.parent, flags.data, overrides, recipe=flags.recipe, runs=root, progress=progress)
    for line in tuning.lines:
        say(line)
    if flags.plan:
        from lmlab.experiment.planned import plan

        here = plan(tuning.recipe, runs=root, parent=tuning.parent, progress=progress, say=say, clock=command_clock())
        if flags.json:
            show_json(here.to_json())
        else:
            show(*here.lines())
        return 0
    options: dict[str, Any] = {"runs": root, "parent": tuning.parent, "progress": progress, "say": say}
    options |= {"display": make_display(flags.quiet, flags.json), "clock": command_clock()}
    options |= {"expect": flags.expect, "note": flags.note}
    if flags.or_resume:
        outcome = train_or_resume(tuning.recipe, run=flags.run, **options)
    else:
        outcome = train(tuning.recipe, run=flags.run or None, **options)
    if outcome.ending.kind != "stopped" and not flags.json:
        from lmlab.experiment.instruct import closing_parts

        show(*closing_parts(outcome, tuning))
    return print_outcome(outcome, json_output=flags.json, quiet=flags.quiet)
