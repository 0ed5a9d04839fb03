"""A recipe's hash: equal for two recipes if and only if they compute the same from the same data."""

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
"""The location of the text doesn't count: the data set's own id identifies what was read."""


def science(recipe: Recipe) -> dict[str, Any]:
    """Return the fields that determine the result, as a flat dict of dotted names: no policy, no paths, no claims, no names.

    A field added after the first recipes is left out at its default, so that it doesn't change the hash of older recipes.
    """
    return {name: value for name, entry, value in _deciding(recipe) if not is_left_out(entry, value)}


def recipe_hash(recipe: Recipe) -> str:
    """Return the SHA-256 over the science, as JSON with sorted keys, in hexadecimal."""
    text = json.dumps({"format": FORMAT, **science(recipe)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def policy_names() -> frozenset[str]:
    """Return the dotted names of the settings outside the hash, which change how a run is executed and not what it computes."""
    recipe = Recipe()
    return frozenset(
        f"{section}.{entry.name}"
        for section in SECTIONS
        for entry in dataclasses.fields(getattr(recipe, section))
        if is_policy(entry)
    )


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return dotted name -> (value in `one`, value in `other`) for each difference in the science; a missing field is None."""
    left, right = ({name: value for name, _, value in _deciding(recipe)} for recipe in (one, other))
    return {
        name: (left.get(name), right.get(name)) for name in sorted({*left, *right}) if left.get(name) != right.get(name)
    }


def _deciding(recipe: Recipe) -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Yield dotted name, field and value of everything that determines the result."""
    for section in SECTIONS:
        part = getattr(recipe, section)
        for entry in dataclasses.fields(part):
            name = f"{section}.{entry.name}"
            if not is_policy(entry) and name not in PATHS:
                yield name, entry, getattr(part, entry.name)
