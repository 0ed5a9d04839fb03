"""`lmlab plan`: what a training needs and reaches here, before it begins."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from lmlab.cli.arguments import parse, runs_folder, split_overrides
from lmlab.cli.closing import speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.progress import progress_for
from lmlab.files.durable import without_nan
from lmlab.recipe import Recipe, is_recipe, load_recipe, recipe_names


@dataclass(frozen=True)
class PlanFlags:
    """Will it fit, how long, what loss: tried on this machine in about half a minute, each figure with what it rests on.

    Every field of the recipe is a flag too, under its dotted name: --train.steps 500 --model.layers 6.
    """

    target: tyro.conf.Positional[str] = ""
    """A recipe (lmlab recipes), a recipe's .toml file, or a text."""
    size: str = ""
    """For a text: 300k, 1M, 3M, 10M, 30M or 124M parameters; default: what suits this machine."""
    ladder: bool = False
    """Train four small models first, a tenth of the run's arithmetic together, and extrapolate its loss from theirs."""
    price: str = ""
    """What time or electricity costs: 1.2/h, 1.2USD/h, 0.30/kWh or 0.30/kWh@65W."""
    score: bool = False
    """Instead: how good the forecasts of all finished runs were."""
    out: str = ""
    """A folder for the IsoFLOP picture (SVG and PNG), with this model marked among other sizes."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The plan as JSON on standard output, all else on standard error."""


def run(arguments: list[str]) -> int:
    """Parse, plan, print."""
    words, overrides = split_overrides(arguments)
    named = next((word for word in words if not word.startswith("-") and is_recipe(word)), "")
    flags = parse(PlanFlags, words, "lmlab plan", load_recipe(named) if named in recipe_names() else Recipe())
    from lmlab import experiment

    say = speaker(json_output=flags.json, quiet=False)
    root = runs_folder(flags.runs)
    if flags.score:
        return _print(experiment.forecast_quality(root), flags.json)
    if not flags.target:
        raise UsageError("lmlab plan needs a recipe or a text file: lmlab recipes lists what there is")
    if flags.size and not experiment.names_text(flags.target):
        raise UsageError(
            "--size is for a text file: a recipe has its shape (change it with --model.width and its like)"
        )
    from lmlab.planning.price import price_in

    found = experiment.plan(
        experiment.recipe_asked(flags.target, overrides, flags.size or None, say),
        runs=root,
        ladder=flags.ladder,
        price=price_in(flags.price) if flags.price else None,
        progress=progress_for(quiet=flags.json),
        say=say,
    )
    _print(found, flags.json)
    if flags.out:
        from lmlab.report.isoflop import draw_isoflop, write_isoflop

        figure = draw_isoflop(
            found.law, found.law_rests_on, found.recipe.name, found.matrix_parameters, found.position.tokens
        )
        for path in write_isoflop(figure, Path(flags.out)):
            print(path, file=sys.stderr if flags.json else sys.stdout)
    return 0


def _print(found, json_output: bool) -> int:  # type: ignore[no-untyped-def]
    if json_output:
        print(json.dumps(without_nan(found.to_json()), indent=2))
    else:
        print("\n".join(found.lines()))
    return 0
