"""A recipe's hash: equal for two recipes exactly where they compute the same thing from the same data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from lmlab.recipe.experiment import SECTIONS, Recipe
from lmlab.recipe.setting import is_left_out, is_policy

FORMAT = 1
PATHS = {"data.corpus"}
"""Where the text lies is no part of the science: the data set's own id says what was read."""


def science(recipe: Recipe) -> dict[str, Any]:
    """The fields that decide the result, as a flat dict of dotted names: no policy, no paths, no claims, no names.

    A field that came later than the first recipes is left out at its default, so that it changes the hash of none of them.
    """
    return {name: value for name, entry, value in _deciding(recipe) if not is_left_out(entry, value)}


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 in hexadecimal over the science, as JSON with sorted keys."""
    text = json.dumps({"format": FORMAT, **science(recipe)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def policy_names() -> frozenset[str]:
    """Dotted names of the settings outside the hash, which change how a run is carried out and not what it computes."""
    recipe = Recipe()
    return frozenset(
        f"{section}.{entry.name}"
        for section in SECTIONS
        for entry in dataclasses.fields(getattr(recipe, section))
        if is_policy(entry)
    )


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """dotted name -> (value in `one`, value in `other`) for the science that differs; a missing field is None."""
    left, right = ({name: value for name, _, value in _deciding(recipe)} for recipe in (one, other))
    return {
        name: (left.get(name), right.get(name)) for name in sorted({*left, *right}) if left.get(name) != right.get(name)
    }


def _deciding(recipe: Recipe) -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Dotted name, field and value of all that decides the result."""
    for section in SECTIONS:
        part = getattr(recipe, section)
        for entry in dataclasses.fields(part):
            name = f"{section}.{entry.name}"
            if not is_policy(entry) and name not in PATHS:
                yield name, entry, getattr(part, entry.name)
