"""`lmlab explain`: why two runs ended at different losses."""

from __future__ import annotations

import json
from dataclasses import dataclass

import tyro

from lmlab.cli.arguments import parse, runs_folder
from lmlab.cli.closing import STOPPED, speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Explain:
    """Train what lies between the recipes of two finished runs, and share out the difference of their losses (Shapley values).

    The same command again goes on where it was stopped.
    """

    first: tyro.conf.Positional[str] = ""
    """A finished run."""
    second: tyro.conf.Positional[str] = ""
    """Another one, scored on the same text."""
    budget: str = ""
    """How long the bridging runs may take, such as 20m: where all steps don't fit, each has fewer; default: all steps."""
    seeds: int = 1
    """Runs of each bridging recipe: more than one measures what is chance."""
    workers: int = 1
    """Runs at a time, each a process."""
    runs: str = ""
    """Where the runs are, and the bridging ones are made; default: LMLAB_RUNS, or ./runs."""
    quiet: bool = False
    """No display, only the result."""
    json: bool = False
    """The result as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, train, print; 3 where a signal stopped the bridging runs."""
    flags = parse(Explain, arguments, "lmlab explain")
    if not flags.first or not flags.second:
        raise UsageError("lmlab explain needs two runs: lmlab explain RUN_A RUN_B")
    from lmlab.recipe.quantities import seconds_in
    from lmlab.report.forest import write_forest
    from lmlab.study.explaining import explain
    from lmlab.study.words import lines
    from lmlab.training.display import make_display

    root = runs_folder(flags.runs)
    found = explain(
        flags.first,
        flags.second,
        root,
        seeds=flags.seeds,
        budget_seconds=seconds_in(flags.budget) if flags.budget else None,
        workers=flags.workers,
        display=make_display(flags.quiet, flags.json),
        progress=progress_for(quiet=flags.quiet or flags.json),
        say=speaker(json_output=flags.json, quiet=flags.quiet),
    )
    result = found.result
    files = [*result.files, *write_forest(result, result.plan.folder(root))]
    tell = speaker(json_output=flags.json, quiet=False)
    for line in [*lines(result.plan, result.cells, result.noise, result.effects), *found.lines()]:
        tell(line)
    if flags.json:
        print(json.dumps({**found.to_json(), "files": [str(path) for path in files]}, indent=2))
    else:
        for path in files:
            print(path)
    return STOPPED if result.stopped else 0
