"""The registry of model families, by the dataclass that describes a model in a recipe."""

from __future__ import annotations

from lmlab.model.context_family import ContextFamily
from lmlab.model.family import Family
from lmlab.model.gpt_family import GPTFamily
from lmlab.recipe.kinds import add_kind
from lmlab.recipe.model import Model

FAMILIES: dict[type, Family] = {}
"""Type of the settings -> its family."""


def add_family(family: Family) -> None:
    """Register a family, and its settings as a kind of the recipe's model section. ValueError if the kind is known already."""
    add_kind("model", family.settings)
    FAMILIES[family.settings] = family


def family_of(model: Model) -> Family:
    """Return the family of a recipe's model, whose settings may also be of a subclass."""
    return next(FAMILIES[base] for base in type(model).__mro__ if base in FAMILIES)


for _family in (GPTFamily(), ContextFamily()):
    add_family(_family)
