"""Checks of which model settings a kernel supports: it must refuse a setting that it doesn't implement, not ignore it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from lmlab.recipe.model import Model

Known = Mapping[str, Callable[[Any], bool]]
"""Field of a model kind's settings -> whether the kernel supports a value."""


def unknown_setting(model: Model, known: Known) -> str | None:
    """Return a line about the first unsupported value, or about a field that isn't `known` and not at its default; else None."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        fits = known.get(field.name, lambda one, default=field.default: one == default)
        if not fits(value):
            return f"it doesn't support model.{field.name} {value}"
    return None


def one_of(*values: str) -> Callable[[Any], bool]:
    """Return a check for one of these strings."""
    return lambda value: isinstance(value, str) and value in values


def yes_or_no(value: Any) -> bool:
    """Check for a bool, of which both values are supported."""
    return isinstance(value, bool)


def size(value: Any) -> bool:
    """Check for an integer above 0."""
    return type(value) is int and value > 0


def size_or_none(value: Any) -> bool:
    """Check for a size, or None for the default that follows from other fields."""
    return value is None or size(value)


def amount(value: Any) -> bool:
    """Check for a finite number of at least 0."""
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def share(value: Any) -> bool:
    """Check for a number in [0, 1)."""
    return amount(value) and value < 1


def anything(value: object) -> bool:
    """Accept any value, for fields that don't affect the kernel."""
    return True
