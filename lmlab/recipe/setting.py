"""A field of a recipe: its default, its valid values, and whether it belongs to the science or only to the policy."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import Field, field
from typing import Any


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Collection[str] | None = None,
    policy: bool = False,
    came_later: bool = False,
    count: bool = False,
) -> Any:
    """Return a dataclass field with inclusive (`at_least`, `at_most`) or exclusive (`above`, `below`) limits.

    `choices` are the valid words of a field whose words can be registered; others have a Literal.

    `policy` marks fields that change how a run is executed and not what it computes (device, micro-batch, how often a
    checkpoint is kept): they are excluded from the recipe's hash, and a resume may change them. `came_later` marks a
    field added after recipes without it were hashed: at its default, which keeps the earlier behaviour and so may
    never change, it is excluded too. `count` marks a whole number that may be written with a multiple: 500k, 3.3B.
    """
    limits = {"choices": choices, "at_least": at_least, "at_most": at_most, "above": above, "below": below}
    metadata = {"limits": limits, "policy": policy, "came_later": came_later, "count": count}
    return field(default=default, metadata=metadata)


def is_policy(entry: Field[Any]) -> bool:
    """Return whether a field is excluded from the recipe's hash."""
    return bool(entry.metadata.get("policy", False))


def is_left_out(entry: Field[Any], value: Any) -> bool:
    """Return whether a field with this value is excluded from the recipe's hash because older recipes have no such field."""
    return bool(entry.metadata.get("came_later", False)) and value == entry.default


def is_count(entry: Field[Any]) -> bool:
    """Return whether a field's number may be written with a multiple, such as 3.3B."""
    return bool(entry.metadata.get("count", False))


def limit_problem(entry: Field[Any], value: Any) -> str | None:
    """Return what `value` should have been ("at least 1"), or None if it is within the field's limits."""
    limits = entry.metadata.get("limits", {})
    choices = limits.get("choices")
    if choices is not None and value not in choices:
        return f"one of {', '.join(choices)}"
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        if number != number or number in (float("inf"), float("-inf")):
            return "a finite number"
        if limits.get("at_least") is not None and number < limits["at_least"]:
            return f"at least {limits['at_least']}"
        if limits.get("at_most") is not None and number > limits["at_most"]:
            return f"at most {limits['at_most']}"
        if limits.get("above") is not None and number <= limits["above"]:
            return f"above {limits['above']}"
        if limits.get("below") is not None and number >= limits["below"]:
            return f"below {limits['below']}"
        if isinstance(number, int) and abs(number) >= 1 << 63:
            return "a number that 64 bits hold"
    return None
