"""Recipes as TOML: every field written out, so that a file means the same whatever the defaults become.

TOML has no null: a field that is None is written as the word "none".
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.recipe.check import check
from lmlab.recipe.experiment import SECTIONS, Claim, Recipe
from lmlab.recipe.override import KINDS, TOP_LEVEL, nearest, override

FORMAT = 1
LARGEST_BYTES = 1_000_000
FREE_TEXT = ("corpus", "column", "separator", "device", "prompts")
"""Settings whose text may look like a number."""


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested plain values, in the order of its fields."""
    value: dict[str, Any] = {"format": FORMAT}
    for name in TOP_LEVEL:
        value[name] = _plain(getattr(recipe, name))
    for section in SECTIONS:
        entries = dataclasses.fields(getattr(recipe, section))
        value[section] = {entry.name: _plain(getattr(getattr(recipe, section), entry.name)) for entry in entries}
    value["claims"] = [
        {key: part for key, part in dataclasses.asdict(claim).items() if part is not None} for claim in recipe.claims
    ]
    return value


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML text; `from_toml` of it equals `recipe`."""
    import tomli_w

    return tomli_w.dumps(to_dict(recipe))


def from_dict(value: dict[str, Any], origin: str) -> Recipe:
    """The recipe that nested plain values describe; fields that they leave out have their defaults.

    Raises LabError that begins with `origin` (a file's name) for anything that no recipe can be.
    """
    try:
        return check(_from_dict(value))
    except LabError as error:
        raise LabError(f"{origin}: {error}") from None


def from_toml(text: str, origin: str = "recipe") -> Recipe:
    """The recipe in TOML text; LabError where it is no TOML or no recipe."""
    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LabError(f"{origin} is not valid TOML: {error}") from None
    return from_dict(value, origin)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file; its name, where the file gives none, is the file's."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise LabError(f"{path} is larger than {LARGEST_BYTES:,} bytes: expected a recipe")
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise LabError(f"there is no recipe file {path}") from None
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is not UTF-8 at byte {error.start}: expected a recipe in TOML") from None
    except OSError as error:
        raise LabError(f"{path} can't be read: {error.strerror}") from None
    recipe = from_toml(text, str(path))
    return dataclasses.replace(recipe, name=path.stem) if recipe.name == Recipe().name else recipe


def _from_dict(value: dict[str, Any]) -> Recipe:
    if value.get("format", FORMAT) != FORMAT:
        raise LabError(f"format {value['format']} is not one that this version reads: expected {FORMAT}")
    changes: dict[str, Any] = {}
    for key, entry in value.items():
        if key in SECTIONS:
            if not isinstance(entry, dict):
                raise LabError(f"[{key}] must be a table of settings")
            changes.update({f"{key}.{name}": _typed(f"{key}.{name}", part) for name, part in entry.items()})
        elif key in TOP_LEVEL:
            changes[key] = _typed(key, entry)
        elif key not in ("format", "claims"):
            raise LabError(f"unknown entry '{key}': {nearest(key, [*SECTIONS, *TOP_LEVEL, 'claims'])}")
    recipe = override(_of_named_kinds(value), changes)
    return dataclasses.replace(recipe, claims=tuple(_claim(entry) for entry in value.get("claims", [])))


def _of_named_kinds(value: dict[str, Any]) -> Recipe:
    """The default recipe of the kinds that a file names: what the file leaves out has its own kind's default."""
    recipe = Recipe()
    for section, kinds in KINDS.items():
        named = value.get(section)
        choice = kinds.get(named.get("kind", "")) if isinstance(named, dict) else None
        if choice is not None:
            recipe = dataclasses.replace(recipe, **{section: choice()})
    return recipe


def _typed(name: str, value: Any) -> Any:
    """A TOML value for `override`, which would also parse text: numbers that stand in quotes are refused here."""
    if isinstance(value, list):
        return tuple(_typed(name, part) for part in value)
    if isinstance(value, str) and value != "none":
        stripped = value.strip()
        try:
            float(stripped)
        except ValueError:
            return value
        if name.partition(".")[2] not in FREE_TEXT and name not in TOP_LEVEL:
            raise LabError(f"{name} can't be the text {value!r}: expected it without quotes")
    return value


def _claim(value: Any) -> Claim:
    names = {entry.name for entry in dataclasses.fields(Claim)}
    needed = {"metric", "value", "source"}
    if not isinstance(value, dict) or not needed <= set(value) <= names:
        raise LabError(
            f"a claim has {', '.join(sorted(needed))} and perhaps {', '.join(sorted(names - needed))}, got {value!r}"
        )
    return Claim(**{**value, "value": float(value["value"])})


def _plain(value: Any) -> Any:
    if value is None:
        return "none"
    return list(value) if isinstance(value, tuple) else value
