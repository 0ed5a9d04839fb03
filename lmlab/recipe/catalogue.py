"""The recipes that come with lmlab, and the way from a name or a file to a recipe."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from lmlab import LabError
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.text import from_toml, read_recipe


def recipe_names() -> list[str]:
    """The names of the recipes that come with lmlab, in alphabetical order."""
    folder = resources.files("lmlab") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def is_recipe(name: str) -> bool:
    """Whether `name` is a shipped recipe or looks like a recipe's file."""
    return name in recipe_names() or name.endswith(".toml")


def load_recipe(name: str | Path) -> Recipe:
    """The recipe of that name, or in that TOML file; LabError with the nearest name where there is neither."""
    text = str(name)
    if text.endswith(".toml"):
        return read_recipe(Path(text))
    if text not in recipe_names():
        close = difflib.get_close_matches(text, recipe_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(recipe_names())}, or a .toml file"
        raise LabError(f"there is no recipe '{text}': {hint}")
    return from_toml((resources.files("lmlab") / "recipes" / f"{text}.toml").read_text(encoding="utf-8"), text)
