"""`lmlab study`: vary settings over seeds, and measure the effect of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from lmlab.cli.arguments import parse, recipe_shown, runs_folder, split_overrides, with_tables
from lmlab.cli.closing import STOPPED, speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Study:
    """Train a recipe over seeds with settings varied, one at a time, stacked or in every combination, and measure their effects.

    Its runs are ordinary runs. Every field of the recipe is a flag too, under its dotted name, for all of them. The same command
    again continues where it was stopped, and on another machine with the same runs folder it shares the work.
    """

    target: tyro.conf.Positional[str] = ""
    """A study (lmlab study --list), a study's .toml file, or with --vary a recipe or a text."""
    vary: tuple[str, ...] = ()
    """FIELD=VALUE,VALUE: a factor and its levels, such as optim.lr=1e-3,3e-3; may be given several times."""
    size: str = ""
    """For a text: parameters of the model, n-gram tables included, such as 750k, 2M or 10M; default: chosen for this machine."""
    tables: bool = True
    """--no-tables: a model without n-gram tables (model.ngrams none)."""
    design: Literal["", "one-factor", "factorial", "cumulative"] = ""
    """Each level alone (default), every combination, or one added after the other."""
    seeds: int = 0
    """Runs of each cell; default: the study's, or 3."""
    workers: int = 0
    """Runs at a time, each a process; default: the study's, or 1."""
    budget: str = ""
    """Begin no run that isn't expected to finish within this time, such as 30m."""
    stop_losers: bool = False
    """Stop a run early when its curve predicts a final loss above that of the best cell so far."""
    name: str = ""
    """The study's name, with which its runs' names begin; default: the file's, or the recipe's and what is varied."""
    list: bool = False
    """List the studies that come with lmlab."""
    runs: str = ""
    """Where the runs and the study's folder are made; default: LMLAB_RUNS, or ./runs."""
    quiet: bool = False
    """No display, only the result."""
    json: bool = False
    """The result as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, train, print; return 3 where a signal stopped the study."""
    words, overrides = split_overrides(arguments)
    flags = parse(Study, words, "lmlab study", recipe_shown(words, overrides))
    overrides = with_tables(overrides, flags.tables)
    from lmlab.study.grid.definition import asked, load_study, study_names

    if flags.list:
        for name in study_names():
            show(f"{name}: {load_study(name).about}")
        return 0
    if not flags.target:
        raise UsageError(
            "lmlab study needs a study or a recipe: lmlab study --list, or lmlab study RECIPE --vary FIELD=A,B"
        )
    from lmlab.recipe.quantities import seconds_in
    from lmlab.report.cells_figure import write_cells
    from lmlab.report.forest import write_forest
    from lmlab.study.grid.studying import StudyWishes, study
    from lmlab.study.grid.words import lines
    from lmlab.training.display import make_display

    say = speaker(json_output=flags.json, quiet=flags.quiet)
    definition = asked(
        flags.target,
        flags.vary,
        overrides,
        design=flags.design,
        seeds=flags.seeds,
        name=flags.name,
        size=flags.size,
    )
    wishes = StudyWishes(
        workers=flags.workers or definition.workers,
        budget_seconds=seconds_in(flags.budget) if flags.budget else None,
        stop_losers=flags.stop_losers,
    )
    result = study(
        definition,
        runs_folder(flags.runs),
        wishes,
        display=make_display(flags.quiet, flags.json),
        progress=progress_for(quiet=flags.quiet or flags.json),
        say=say,
    )
    folder = result.plan.folder(runs_folder(flags.runs))
    files = [*result.files, *write_forest(result, folder), *write_cells(result, folder)]
    tell = speaker(json_output=flags.json, quiet=False)
    for line in lines(result.plan, result.cells, result.noise, result.effects):
        tell(line)
    if flags.json:
        show_json({**result.to_json(), "files": [str(path) for path in files]})
    else:
        show(*files)
    return STOPPED if result.stopped else 0
