"""`lmlab plan`: the cost and the expected loss of a training here, or the best training within a budget."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lmlab import LabError
from lmlab.cli.arguments import parse, recipe_shown, runs_folder, split_overrides, with_tables
from lmlab.cli.clock import command_clock
from lmlab.cli.closing import speaker
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json
from lmlab.cli.progress import progress_for
from lmlab.recipe import Recipe

if TYPE_CHECKING:
    from lmlab.hardware.cards import Card
    from lmlab.planning.cards.price import Price
    from lmlab.planning.inverse.budget import Budget


@dataclass(frozen=True)
class PlanFlags:
    """Will it fit, how long, what loss: measured on this machine in about half a minute, each figure with its basis.

    Memory by part, FLOPs per token and in total, epochs, tokens a parameter beside Chinchilla's 20. With a budget: the model,
    tokens, batch and rate with the lowest expected loss. With --from: what to do after a run. Every field of the recipe is a flag
    too, under its dotted name: --train.steps 500 --model.layers 6.
    """

    target: tyro.conf.Positional[str] = ""
    """A recipe (lmlab recipes), a recipe's .toml file, or a text."""
    size: str = ""
    """For a text: parameters of the model, n-gram tables included, such as 750k, 2M or 10M; default: chosen for this machine."""
    tables: bool = True
    """--no-tables: a model without n-gram tables (model.ngrams none)."""
    ladder: bool = False
    """First train four small models, with a tenth of the run's FLOPs in total (up to a quarter where it is small), and
    extrapolate its loss from theirs."""
    budget: tuple[str, ...] = ()
    """Limits of the training: 8h, 3e17flops or both; plans the best model for it."""
    loss: float | None = None
    """The loss to reach, in nats a token: plans the model that reaches it in the least time."""
    disk: str = ""
    """With a budget: the limit of its checkpoints, such as 20GB."""
    parent: Annotated[str, tyro.conf.arg(name="from")] = ""
    """A finished run: more steps, more data and more parameters, by expected gain an hour. With --train.steps above its own: the
    loss there and on the way, from its own curve; --schedule settings change the learning rate on the way."""
    card: str = ""
    """A GPU that isn't here, such as rtx3090, or several, such as 8xA100-40, by datasheet and published trainings on it."""
    price: str = ""
    """The price of time or electricity: 1.2/h, 1.2USD/h, 0.30/kWh or 0.30/kWh@65W."""
    out: str = ""
    """A folder for the IsoFLOP plot, or with --from and --train.steps for the longer run's (SVG and PNG); with a budget, the
    file for the recipe (.toml)."""
    score: bool = False
    """Instead of a plan: the accuracy of the forecasts of all finished runs."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The plan as JSON on standard output, all else on standard error."""


OF_A_RECIPE = ("target", "size", "tables", "ladder", "budget", "loss", "disk", "card", "price", "out")
PASSED_OVER = {
    "score": (*OF_A_RECIPE, "parent"),
    "parent": OF_A_RECIPE,
    **dict.fromkeys(("budget", "loss", "disk"), ("ladder",)),
    "card": ("ladder", "out"),
}
"""Kind of plan, by the flag that selects it -> flags that don't apply to it."""
LENGTHS = ("train.steps", "train.epochs")
OF_LENGTH = (*LENGTHS, "schedule.")
"""Settings of a plan for a longer run: its length and its learning rate."""
NAMES = {"parent": "--from", "tables": "--no-tables", "target": "a recipe's name"}


def run(arguments: list[str]) -> int:
    """Parse, plan, print; return the exit status."""
    words, overrides = split_overrides(arguments)
    flags = parse(PlanFlags, words, "lmlab plan", recipe_shown(words, overrides))
    _refuse_mixed(flags, overrides)
    overrides = with_tables(overrides, flags.tables)
    from lmlab.experiment.asked import names_text, recipe_asked
    from lmlab.experiment.budgeted import plan_after
    from lmlab.experiment.quality import forecast_quality

    root = runs_folder(flags.runs)
    if flags.score:
        found = forecast_quality(root)
        return _print(found.lines(), found.to_json(), flags)
    if flags.parent and overrides:
        return _of_longer_run(flags, overrides, root)
    if flags.parent:
        from lmlab.planning.next_steps.text import lines_of, to_json

        after = plan_after(flags.parent, runs=root)
        return _print(lines_of(after), to_json(after), flags)
    if not flags.target:
        raise UsageError("lmlab plan needs a recipe or a text file: lmlab recipes lists the recipes")
    if flags.size and not names_text(flags.target):
        raise UsageError(
            "--size is for a text file: a recipe has its shape (change it with --model.width and its like)"
        )
    wishes = _wishes(flags)
    say = speaker(json_output=flags.json, quiet=False)
    planned = wishes.budget is not None
    recipe = recipe_asked(flags.target, overrides, flags.size or None, say, planned=planned)
    if wishes.budget is not None:
        return _within_budget(recipe, wishes.budget, wishes, flags, root, say)
    return _of_recipe(recipe, wishes, flags, root, say)


def _of_longer_run(flags: PlanFlags, overrides: Mapping[str, Any], root: Path) -> int:
    from lmlab.experiment.budgeted import plan_longer

    longer = plan_longer(flags.parent, overrides, runs=root)
    _print(longer.lines(), longer.to_json(), flags)
    if flags.out:
        from lmlab.report.longer import write_longer

        for path in write_longer(longer, Path(flags.out)):
            show(path, file=sys.stderr if flags.json else sys.stdout)
    return 0


def _refuse_mixed(flags: PlanFlags, overrides: Mapping[str, Any]) -> None:
    """Raise UsageError for flags that the requested kind of plan would ignore."""
    given = [entry.name for entry in fields(flags) if getattr(flags, entry.name) != getattr(PlanFlags, entry.name)]
    kind = next((name for name in PASSED_OVER if name in given), "")
    longer = kind == "parent" and any(name in overrides for name in LENGTHS)
    left = [name for name in given if name in PASSED_OVER.get(kind, ()) and not (longer and name == "out")]
    if kind in ("score", "parent"):
        left += [name for name in overrides if not (longer and name.startswith(OF_LENGTH))]
    if left and kind == "parent" and left[0].startswith(OF_LENGTH):
        raise UsageError(
            f"--{left[0]} beside --from sets how the learning rate continues: add --train.steps or --train.epochs, for how long"
        )
    if left:
        flag = NAMES.get(left[0], f"--{left[0]}")
        raise UsageError(f"{flag} doesn't apply with {NAMES.get(kind, f'--{kind}')}: leave one of them out")


@dataclass(frozen=True)
class _Wishes:
    """The flags' requests beside the recipe; LabError for invalid ones, before the text is read."""

    price: Price | None
    card: Card | None
    budget: Budget | None


def _wishes(flags: PlanFlags) -> _Wishes:
    from lmlab.hardware.cards import card_named
    from lmlab.planning.cards.price import price_in
    from lmlab.planning.inverse.budget import budget_of

    inverse = flags.budget or flags.loss is not None or flags.disk
    return _Wishes(
        price=price_in(flags.price) if flags.price else None,
        card=card_named(flags.card) if flags.card else None,
        budget=budget_of(flags.budget, flags.loss, flags.disk or None) if inverse else None,
    )


def _of_recipe(recipe: Recipe, wishes: _Wishes, flags: PlanFlags, root: Path, say: Any) -> int:
    from lmlab.experiment.budgeted import plan_on_card
    from lmlab.experiment.planned import plan

    price, progress = wishes.price, progress_for(quiet=flags.json)
    if wishes.card:
        there = plan_on_card(recipe, wishes.card, price=price, progress=progress)
        return _print(there.lines(), there.to_json(), flags)
    here = plan(recipe, runs=root, ladder=flags.ladder, price=price, progress=progress, say=say, clock=command_clock())
    _print(here.lines(), here.to_json(), flags)
    if flags.out:
        from lmlab.report.isoflop import draw_isoflop, write_isoflop

        place = here.position
        if here.law is None:
            raise LabError("there is no picture of other sizes, since no loss is known here: add --ladder")
        figure = draw_isoflop(
            here.law, here.law_rests_on, recipe.name, place.matrix_parameters, place.tokens, place.unique_tokens
        )
        for path in write_isoflop(figure, Path(flags.out)):
            show(path, file=sys.stderr if flags.json else sys.stdout)
    return 0


def _within_budget(recipe: Recipe, budget: Budget, wishes: _Wishes, flags: PlanFlags, root: Path, say: Any) -> int:
    from lmlab.experiment.budgeted import plan_within
    from lmlab.files import make_folder, write_text
    from lmlab.planning.cards.price import board_power
    from lmlab.planning.inverse.text import lines_of, to_json, toml_of
    from lmlab.runs.names import stem_of

    card, price = wishes.card, wishes.price
    watts = board_power(card) if card else None
    if price is not None:
        price.require_power(watts is not None)
    path = Path(flags.out or f"{stem_of(recipe.name)}-planned.toml")
    if path.is_dir():
        raise LabError(f"--out {path} is a folder: with a budget, expected the file for the recipe, such as night.toml")
    make_folder(path.parent, "write --out FILE.toml, in a folder that can be written")
    found = plan_within(recipe, budget, runs=root, card=card, progress=progress_for(quiet=flags.json), say=say)
    _print(lines_of(found, price, watts), to_json(found, price, watts), flags)
    write_text(path, toml_of(found.best, path.stem))
    show(path, file=sys.stderr if flags.json else sys.stdout)
    return 0


def _print(lines: Sequence[object], value: Mapping[str, Any], flags: PlanFlags) -> int:
    if flags.json:
        show_json(dict(value))
    else:
        show(*lines)
    return 0
