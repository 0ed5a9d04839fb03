"""`lmlab recipes`: the recipes, and the published numbers that each one checks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import tyro

from lmlab.cli.arguments import parse
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json, show_text


@dataclass(frozen=True)
class Recipes:
    """List the recipes with their size and the published numbers that they are compared with, or print one."""

    target: tyro.conf.Positional[str] = ""
    """A recipe, or a recipe's .toml file: print the file."""
    resolved: bool = False
    """With a recipe: every setting, including those of its base and the defaults, and the hash of its runs."""
    json: bool = False
    """The list, or the recipe with every setting, as JSON."""


def run(arguments: list[str]) -> int:
    """Parse, list, print; return the exit status."""
    flags = parse(Recipes, arguments, "lmlab recipes")
    from lmlab.recipe import load_recipe, recipe_names

    if flags.target:
        return _print_one(flags)
    if flags.resolved:
        raise UsageError("--resolved applies to one recipe: lmlab recipes NAME --resolved")
    entries = [described(load_recipe(name)) for name in recipe_names()]
    if flags.json:
        show_json({"recipes": entries})
        return 0
    _print_table(entries)
    return 0


def _print_one(flags: Recipes) -> int:
    """Print a recipe's file as it is written, or with every setting."""
    from lmlab.recipe import load_recipe, recipe_hash, source_of, to_toml
    from lmlab.recipe.text import to_dict

    recipe = load_recipe(flags.target)  # raises for a file that is no recipe
    if flags.json:
        show_json({"name": recipe.name, "hash": recipe_hash(recipe), "recipe": to_dict(recipe)})
    elif flags.resolved:
        show_text(f"# {flags.target} with every setting; hash {recipe_hash(recipe)}\n{to_toml(recipe)}", end="")
    else:
        show_text(source_of(flags.target), end="")
    return 0


def described(recipe: Any) -> dict[str, Any]:
    """Return a recipe's entry: its size at the published vocabulary, or at its own setting."""
    from lmlab.exchange.models.exportable import exportable
    from lmlab.model.cost import parameters

    vocabulary = recipe.published_vocabulary or recipe.data.vocabulary
    counts = parameters(recipe.model, vocabulary) if vocabulary else None
    return {
        "name": recipe.name,
        "about": recipe.about,
        "parameters": counts["total"] - counts["ngrams"] if counts else None,
        "table_parameters": counts["ngrams"] if counts else None,
        "vocabulary": vocabulary,
        "steps": recipe.train.steps if recipe.train.epochs is None else None,
        "epochs": recipe.train.epochs,
        "corpus": recipe.data.corpus,
        "claims": [dataclasses.asdict(claim) for claim in recipe.claims],
        "exportable": exportable(recipe).to_json(),
    }


def _print_table(entries: list[dict[str, Any]]) -> None:
    from lmlab.recipe.quantities import count
    from lmlab.training.table import table

    rows = [
        (
            entry["name"],
            f"{entry['parameters']:,}",
            f"{entry['steps']:,} steps" if entry["steps"] else f"{entry['epochs']:g} epochs",
            # Tables are looked up, not multiplied: they don't count as the model's size.
            count(entry["table_parameters"]) if entry["table_parameters"] else "",
            claim_words(entry["claims"]),
            entry["about"],
        )
        for entry in entries
    ]
    headings = ("recipe", "parameters", "length", "in tables", "published", "description")
    show(table(headings, rows, words=("recipe", "published"), wraps=("description",)))
    show(
        "run: lmlab train NAME   its file: lmlab recipes NAME   all settings: lmlab recipes NAME --resolved   all claims: --json"
    )


def claim_words(claims: list[dict[str, Any]]) -> str:
    """Return the most important claim in a few words."""
    losses = [claim for claim in claims if claim["metric"] == "valid_loss"]
    if losses:
        best = min(losses, key=lambda claim: claim["value"])
        return f"validation loss {best['value']:g}"
    return ", ".join(f"{claim['metric'].replace('_', ' ')} {claim['value']:,g}" for claim in claims[:1])
