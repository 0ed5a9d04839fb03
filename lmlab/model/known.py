"""Which settings of a model a kernel knows: what it wasn't told of it must not compute as if it weren't there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from lmlab.recipe.model import Model

Known = Mapping[str, Callable[[Any], bool]]
"""Field of a family's settings -> whether a value of it is computed."""


def unknown_setting(model: Model, known: Known) -> str | None:
    """What of the settings isn't `known`, in one line: a value, or a field that isn't at its default; None where all is."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        fits = known.get(field.name, lambda one, default=field.default: one == default)
        if not fits(value):
            return f"it doesn't know model.{field.name} {value}"
    return None


def one_of(*values: str) -> Callable[[Any], bool]:
    """One of these words."""
    return lambda value: isinstance(value, str) and value in values


def yes_or_no(value: Any) -> bool:
    """True or False: both are computed."""
    return isinstance(value, bool)


def size(value: Any) -> bool:
    """A whole number above 0."""
    return type(value) is int and value > 0


def size_or_none(value: Any) -> bool:
    """A size, or None for the one that follows from the others."""
    return value is None or size(value)


def amount(value: Any) -> bool:
    """A number from 0 on."""
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def share(value: Any) -> bool:
    """A number from 0 to below 1."""
    return amount(value) and value < 1


def anything(value: object) -> bool:
    """Any value: it decides nothing that the kernel computes."""
    return True
