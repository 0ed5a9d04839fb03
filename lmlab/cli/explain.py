"""`lmlab explain`: why two runs ended at different losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.closing import STOPPED, speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Explain:
    """Why do they differ: train recipes between two runs, and attribute the difference of their losses to settings (Shapley
    values).

    Two recipes, or a worked example (--list), are trained from scratch. The same command again continues where it was stopped.
    """

    first: tyro.conf.Positional[str] = ""
    """A finished run (or RUN@best, RUN@STEP) or a recipe. Alone: tag:TAG for the two runs that have it, or a worked example by its
    name or file."""
    second: tyro.conf.Positional[str] = ""
    """Another run scored on the same text, or another recipe."""
    budget: str = ""
    """Time limit of the interpolating runs, such as 20m: where all steps don't fit, each has fewer; default: all steps."""
    continued: Annotated[bool, tyro.conf.arg(name="continue")] = False
    """Also continue the first run from its end, under its own settings and under the second's, to measure the effect of more
    steps."""
    seeds: int = 2
    """Runs of each interpolating recipe."""
    workers: int = 1
    """Runs at a time, each a process."""
    runs: str = ""
    """Where the runs are, and the interpolating ones are made; default: LMLAB_RUNS, or ./runs."""
    list: bool = False
    """List the worked examples."""
    quiet: bool = False
    """No display, only the result."""
    json: bool = False
    """The result as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, train, print; return 3 where a signal stopped the trainings."""
    flags = parse(Explain, arguments, "lmlab explain")
    from lmlab.study.explain.case import case_names, load_case

    if flags.list:
        for name in case_names():
            show(f"{name}  {load_case(name).about}")
        return 0
    if not flags.first:
        raise UsageError("lmlab explain needs two runs: lmlab explain RUN_A RUN_B, or a worked example (--list)")
    from lmlab.recipe.quantities import seconds_in
    from lmlab.report.forest import write_forest
    from lmlab.report.waterfall import write_waterfall
    from lmlab.study.explain.explaining import ExplainWishes, explain
    from lmlab.training.display import make_display

    root = runs_folder(flags.runs)
    found = explain(
        flags.first,
        flags.second,
        root,
        ExplainWishes(
            seeds=flags.seeds,
            budget_seconds=seconds_in(flags.budget) if flags.budget else None,
            workers=flags.workers,
            continued=flags.continued,
        ),
        display=make_display(flags.quiet, flags.json),
        progress=progress_for(quiet=flags.quiet or flags.json),
        say=speaker(json_output=flags.json, quiet=flags.quiet),
    )
    folder = found.result.plan.folder(root)
    files = [*found.files, *write_forest(found.result, folder), *write_waterfall(found, folder)]
    tell = speaker(json_output=flags.json, quiet=False)
    for line in found.lines():
        tell(line)
    if flags.json:
        show_json({**found.to_json(), "files": [str(path) for path in files]})
    else:
        show(*files)
    return STOPPED if found.stopped else 0
