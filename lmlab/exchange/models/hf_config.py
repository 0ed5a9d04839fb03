"""A model's config.json as transformers writes it: reading values, and refusing what lmlab's GPT doesn't have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmlab import LabError

LARGEST_SIZE = 1 << 40
LONGEST_VALUE = 60


class Config:
    """The values of a configuration, by name; `name` is that of its file, for errors."""

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self.values, self.name = values, name

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def size(self, key: str, default: int | None = None) -> int:
        """Return a whole number above 0; LabError where it is something else, or missing without a default."""
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value < LARGEST_SIZE:
            raise LabError(f"{self.name} has {key} {_shown(value)}: expected a whole number above 0")
        return value

    def number(self, key: str, default: float) -> float:
        """Return a number of at least 0."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < LARGEST_SIZE:
            raise LabError(f"{self.name} has {key} {_shown(value)}: expected a number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise LabError(f"{self.name} has {key} {_shown(value)}: expected true or false")
        return value

    def one_of(self, key: str, choices: Mapping[str, str], default: str) -> str:
        """Return what a word stands for here."""
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, str) or value not in choices:
            raise LabError(
                f"{self.name} has {key} {_shown(value)}, which lmlab's GPT doesn't have: expected one of {', '.join(choices)}"
            )
        return choices[value]

    def require(self, key: str, *expected: object) -> None:
        """Raise LabError unless the value is one of these, or missing."""
        value = self.values.get(key)
        if value is not None and not any(type(value) is type(one) and value == one for one in expected):
            raise LabError(
                f"{self.name} has {key} {_shown(value)}, which lmlab's GPT doesn't have: expected "
                f"{' or '.join(map(_shown, expected)) or 'none'}"
            )

    def dropout(self, *keys: str, default: float) -> float:
        """Return the share that all these settings have; 0 where they differ."""
        found = {self.number(key, default) for key in keys}
        return found.pop() if len(found) == 1 and max(found) < 1 else 0.0


def first_id(value: Any, vocabulary: int) -> int | None:
    """Return a token id of a configuration, the first of a list of them; None where there is none in the vocabulary."""
    one = value[0] if isinstance(value, list) and value else value
    return one if type(one) is int and 0 <= one < vocabulary else None


def _shown(value: Any) -> str:
    words = {None: "none", True: "true", False: "false"}
    shown = words[value] if value is None or isinstance(value, bool) else str(value)
    return shown if len(shown) <= LONGEST_VALUE else f"{shown[:LONGEST_VALUE]}..."
