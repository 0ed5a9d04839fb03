"""Smaller and larger models in a recipe's style, among which inverse planning chooses.

Widths increase by about a fifth. Depth follows width as in `lmlab.recipe.sizes`, from 3 layers at 96 to 12 at 768, but through the
recipe's own shape; the family has the rule (`Family.resized`).
"""

from __future__ import annotations

import dataclasses

from lmlab.model.cost import parameters
from lmlab.model.families import family_of
from lmlab.recipe import Recipe

WIDTHS = (32, 64, 96, *(quarter * 2**octave for octave in range(5, 10) for quarter in (4, 5, 6, 7)), 4096)
"""Multiples of 32; from 128 on four to a doubling, so that each has about 1.6 times the parameters of the previous one."""


def shapes_like(recipe: Recipe) -> list[Recipe]:
    """Return `recipe` with each model shape in its style, its own among them, from narrow to wide. LabError where its family has no
    other shapes.
    """
    own = recipe.model
    family = family_of(own)
    found = {
        width: dataclasses.replace(recipe, model=family.resized(own, width)) for width in WIDTHS if width != own.width
    }
    found[own.width] = recipe
    return [found[width] for width in sorted(found)]


def counted_parameters(recipe: Recipe, vocabulary: int) -> int:
    """Return a model's size as loss laws count it: without n-gram tables, of which a token reads a few rows."""
    counted = parameters(recipe.model, vocabulary)
    return counted["total"] - counted["ngrams"]
