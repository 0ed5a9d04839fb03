"""The recipe that somebody asks for: by a recipe's name or file, or by a text that has none."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmlab.experiment.own_text import recipe_for
from lmlab.recipe import Recipe, check, is_recipe, load_recipe, override, with_settings
from lmlab.recipe.derived import notes


def names_text(target: str) -> bool:
    """Whether `target` is meant as a text: a path, a file that is there, or standard input. All else is a recipe's name."""
    if is_recipe(target):
        return False
    return target == "-" or os.path.exists(target) or "." in Path(target).name or "/" in target


def recipe_asked(
    target: str, settings: Mapping[str, Any], size: str | None = None, say: Callable[[str], object] = print
) -> Recipe:
    """The recipe of that name, or one that is chosen for that text, with the settings; LabError where it can't be had.

    `settings` are dotted names with their values, `size` one of `lmlab.recipe.sizes` for a text. `say` gets the reasons for
    what was chosen.
    """
    if not names_text(target):
        return _with_settings(load_recipe(target), settings, say)
    wished = override(
        Recipe(),
        {name: settings[name] for name in ("train.device", "train.steps", "train.epochs") if name in settings},
    ).train
    steps = wished.steps if "train.steps" in settings else None
    choice = recipe_for(target, wished.device, size, steps, wished.epochs)
    for reason in choice.reasons:
        say(reason)
    return _with_settings(choice.recipe, settings, say)


def _with_settings(recipe: Recipe, settings: Mapping[str, Any], say: Callable[[str], object]) -> Recipe:
    changed = with_settings(recipe, settings)
    for line in notes(recipe, changed, settings):
        say(line)
    return check(changed)
