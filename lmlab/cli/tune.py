"""`lmlab tune`: measure a recipe's best learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lmlab.cli.arguments import parse, recipe_shown, runs_folder, split_overrides, with_tables
from lmlab.cli.closing import STOPPED, speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Tune:
    """Find a recipe's learning rate by short real trainings: successive halving, the optimum with an interval, a plot, a recipe.

    Every field of the recipe is a flag too, under its dotted name. The same command again continues where it was stopped.
    """

    target: tyro.conf.Positional[str] = ""
    """A recipe (lmlab recipes), a recipe's .toml file, or a text."""
    steps: int = 0
    """Steps of the longest trainings; default: an eighth of the recipe's, at least 200."""
    trials: int = 7
    """Learning rates to begin with, a factor of 2 from each other."""
    seeds: int = 2
    """Seeds with which the best rates are trained, to measure the noise between seeds."""
    size: Annotated[str, tyro.conf.arg(metavar="own|small|SIZE")] = "own"
    """small: measure on a narrower model that is scaled so that its best rate is the recipe's (optim.transfer_from); for a text
    also the model's parameters, such as 750k, 2M or 10M, as in lmlab train."""
    tables: bool = True
    """--no-tables: a model without n-gram tables (model.ngrams none)."""
    storage: str = ""
    """Where Optuna keeps the search, such as sqlite:///study.db; default: a file in the search's folder."""
    out: str = ""
    """Where to write the tuned recipe; default: tuned.toml in the search's folder."""
    runs: str = ""
    """Where the search's folder is made; default: LMLAB_RUNS, or ./runs."""
    quiet: bool = False
    """No display, only the result."""
    json: bool = False
    """The result as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, search, print; return 3 where a signal stopped the search."""
    words, overrides = split_overrides(arguments)
    flags = parse(Tune, words, "lmlab tune", recipe_shown(words, overrides))
    overrides = with_tables(overrides, flags.tables)
    if not flags.target:
        raise UsageError("lmlab tune needs a recipe or a text file: lmlab recipes lists the recipes")
    from lmlab.experiment.asked import names_text, recipe_asked
    from lmlab.report.rates import write_rates
    from lmlab.runs.names import stem_of
    from lmlab.study.tune.tuning import Wishes, tune
    from lmlab.training.display import make_display

    say = speaker(json_output=flags.json, quiet=flags.quiet)
    small, own = flags.size == "small", flags.size in ("own", "small")
    if not own and not names_text(flags.target):
        raise UsageError(
            f"--size {flags.size[:40]} is for a text file: {flags.target} has its shape (change it with --model.width and its "
            "like); --size small tunes a narrower model"
        )
    wishes = Wishes(
        steps=flags.steps,
        trials=flags.trials,
        seeds=flags.seeds,
        size="small" if small else "own",
        storage=flags.storage,
        out=Path(flags.out) if flags.out else None,
    )
    progress = progress_for(quiet=flags.quiet or flags.json)
    recipe = recipe_asked(flags.target, overrides, None if own else flags.size, say=say, progress=progress)
    folder = runs_folder(flags.runs) / f"tune-{stem_of(recipe.name)}{'-small' if small else ''}"
    result = tune(
        recipe,
        folder,
        wishes,
        display=make_display(flags.quiet, flags.json),
        progress=progress,
        say=say,
    )
    files = write_rates(result, folder)
    tell = speaker(json_output=flags.json, quiet=False)
    for line in result.lines():
        tell(line)
    if not result.finished:
        tell("stopped; the same command continues from here")
    if flags.json:
        show_json({**result.to_json(), "files": [str(path) for path in files]})
        return 0 if result.finished else STOPPED
    show(*files, *([result.tuned_recipe] if result.tuned_recipe else []))
    return 0 if result.finished else STOPPED
