"""The recipes that come with lmlab, and loading a recipe by name or file."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from lmlab import LabError
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.text import from_toml, read_recipe, recipe_text


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with lmlab, in alphabetical order."""
    folder = resources.files("lmlab") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def is_recipe(name: str) -> bool:
    """Return whether `name` is a shipped recipe or has the form of a recipe file's name."""
    return name in recipe_names() or name.endswith(".toml")


def load_recipe(name: str | Path) -> Recipe:
    """Return the recipe of that name, or in that TOML file; raises LabError with the nearest name if there is neither.

    A file may name another recipe as its `base`: a catalogue name, or a .toml file's path from the file's own folder.
    """
    return _load(str(name), ())


def source_of(name: str | Path) -> str:
    """Return the original TOML text of the recipe of that name, or in that file."""
    text = str(name)
    if text.endswith(".toml"):
        return recipe_text(Path(text))
    if text not in recipe_names():
        close = difflib.get_close_matches(text, recipe_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(recipe_names())}, or a .toml file"
        raise LabError(f"there is no recipe '{text}': {hint}")
    return (resources.files("lmlab") / "recipes" / f"{text}.toml").read_text(encoding="utf-8")


def _load(name: str, above: tuple[Path, ...]) -> Recipe:
    """Load a recipe that is a base of the last file in `above`, each of which is a base of the one before it."""
    if not name.endswith(".toml"):
        return from_toml(source_of(name), name, lambda base: _load(base, above))
    path = Path(name)
    here = path.resolve()
    if here in above:
        circle = " -> ".join(file.name for file in (*above[above.index(here) :], here))
        raise LabError(f"a recipe can't be its own base: {circle}; name another base")

    def base(named: str) -> Recipe:
        return _load(str(path.parent / named) if named.endswith(".toml") else named, (*above, here))

    return read_recipe(path, base)
