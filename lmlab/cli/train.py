"""`lmlab train`: a recipe, a text file, or a branch of another run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lmlab.cli.arguments import parse, recipe_shown, runs_folder, split_overrides, with_tables
from lmlab.cli.clock import command_clock
from lmlab.cli.closing import print_outcome, speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.importing import import_uncollected
from lmlab.cli.progress import progress_for
from lmlab.recipe import Recipe, check, load_recipe, with_settings
from lmlab.recipe.derived import notes


@dataclass(frozen=True)
class Train:
    """Train a recipe, or a model of your own text: forecast, training with a live display, evaluation, samples.

    Every field of the recipe is a flag too, under its dotted name: --train.steps 500 (or --train.epochs 2) --model.layers 6.
    """

    target: tyro.conf.Positional[str] = ""
    """A recipe (lmlab recipes), a recipe's .toml file, or a text to train on."""
    run: str = ""
    """The run's name; default: the recipe's name and a number."""
    runs: str = ""
    """Where runs are made; default: LMLAB_RUNS, or ./runs."""
    size: str = ""
    """For a text: parameters of the model, n-gram tables included, such as 750k, 2M or 10M; default: chosen for this machine."""
    tables: bool = True
    """--no-tables: a model without n-gram tables (model.ngrams none)."""
    parent: Annotated[str, tyro.conf.arg(name="from")] = ""
    """RUN or RUN@STEP: a new run from that checkpoint."""
    rate: Literal["", "stretch", "hold", "rewarm"] = ""
    """With --from: stretch the schedule over the new length (default), hold it as it was, or warm up again."""
    or_resume: bool = False
    """Continue the run if it exists already with the same recipe."""
    expect: tuple[str, ...] = ()
    """Expected ranges of the run's results, such as valid_perplexity=25..30, valid_loss=..1.5 or time=1h..2h: kept with it and
    scored after it; may be repeated."""
    note: str = ""
    """A note to keep with the run (lmlab runs note RUN shows it)."""
    quiet: bool = False
    """No display, only the closing lines."""
    json: bool = False
    """The summary as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, train, print; return 3 where a signal stopped the run after saving."""
    words, overrides = split_overrides(arguments)
    flags = parse(Train, words, "lmlab train", recipe_shown(words, overrides))
    overrides = with_tables(overrides, flags.tables)
    if flags.or_resume and not flags.run:
        raise UsageError("--or-resume needs --run NAME: which run to continue, or to start")
    import_uncollected("lmlab.experiment.start")
    from lmlab.training import parallel

    if parallel.rank() > 0:
        from lmlab.experiment.replica import take_part

        return take_part()
    with parallel.leading():
        return _lead(flags, overrides)


def _lead(flags: Train, overrides: dict[str, Any]) -> int:
    from lmlab.experiment.expectations import parse_expectations
    from lmlab.experiment.start import train, train_or_resume
    from lmlab.runs import check_note, require_free_name
    from lmlab.runs.names import check_name
    from lmlab.training.display import make_display

    # Checked now, before the text is read.
    parse_expectations(flags.expect)
    check_note(flags.note)
    if flags.run:
        check_name(flags.run)
    if flags.run and not flags.or_resume:
        require_free_name(runs_folder(flags.runs), flags.run)
    say = speaker(json_output=flags.json, quiet=flags.quiet)
    root = runs_folder(flags.runs)
    progress = progress_for(quiet=flags.quiet or flags.json)
    recipe, parent = _recipe(flags, overrides, root, say, progress)
    display = make_display(flags.quiet, flags.json)
    options: dict[str, Any] = {"runs": root, "parent": parent, "display": display, "progress": progress, "say": say}
    options |= {"expect": flags.expect, "note": flags.note, "clock": command_clock()}
    if flags.or_resume:
        outcome = train_or_resume(recipe, run=flags.run, **options)
    else:
        outcome = train(recipe, run=flags.run or None, **options)
    return print_outcome(outcome, json_output=flags.json, quiet=flags.quiet)


def _recipe(flags: Train, overrides: dict[str, Any], root: Path, say: Any, progress: Any) -> tuple[Recipe, Any]:
    """Return the recipe of the arguments, and the parent of a branch."""
    from lmlab.experiment.asked import names_text, recipe_asked
    from lmlab.experiment.parent import parent_of
    from lmlab.experiment.start import with_rate

    if flags.parent:
        parent = parent_of(flags.parent, root)
        base = load_recipe(flags.target) if flags.target else parent.recipe
        recipe = with_settings(base, overrides)
        for line in notes(base, recipe, overrides):
            say(line)
        if not any(name.startswith("schedule.") for name in overrides):
            recipe = with_rate(recipe, parent, flags.rate or "stretch")
        elif flags.rate:
            raise UsageError("--rate and --schedule settings set the same thing: give one of them")
        return check(recipe), parent
    if flags.rate:
        raise UsageError("--rate needs --from RUN@STEP: it sets a branch's learning rate")
    if not flags.target:
        raise UsageError("lmlab train needs a recipe or a text file: lmlab recipes lists the recipes")
    if flags.size and not names_text(flags.target):
        raise UsageError(
            "--size is for a text file: a recipe has its shape (change it with --model.width and its like)"
        )
    return recipe_asked(flags.target, overrides, flags.size or None, say, progress), None
