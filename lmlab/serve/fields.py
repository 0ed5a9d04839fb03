"""The fields of a request: each is read once with its type and limits; what remains is refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmlab.serve.errors import ApiError, invalid

MISSING = object()
LONGEST_SHOWN = 60


class Fields:
    """A JSON object of a request. A field that is null counts as missing."""

    def __init__(self, value: Any) -> None:
        """ApiError if `value` isn't an object."""
        if not isinstance(value, dict):
            raise invalid(None, f"the request is {shown(value)}: expected a JSON object", "invalid_json")
        self._rest: dict[str, Any] = dict(value)

    def take(self, name: str, default: Any = None) -> Any:
        """Return a field of any type."""
        value = self._rest.pop(name, None)
        return default if value is None else value

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        value = self.take(name, default)
        if not isinstance(value, str):
            raise wrong(name, value, "a text")
        return value

    def truth(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise wrong(name, value, "true or false")
        return value

    def whole(self, name: str, default: int | None, least: int, most: int) -> int | None:
        """Return a whole number from `least` to `most`."""
        value = self.take(name, default)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise wrong(name, value, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """Return a number from `least` to `most`."""
        value = self.take(name, default)
        if type(value) not in (int, float) or not least <= value <= most:
            raise wrong(name, value, f"a number from {least:g} to {most:g}")
        return float(value)

    def done(self, neutral: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuse what wasn't read. `neutral` are known fields that aren't supported, with the values that ask for nothing."""
        for name, value in self._rest.items():
            if name not in neutral:
                raise invalid(
                    name, f"{shown(name)} isn't a field that this server supports: leave it out", "unsupported"
                )
            if value is not None and not any(type(value) is type(one) and value == one for one in neutral[name]):
                raise invalid(name, f"{name} isn't supported: leave it out (found {shown(value)})", "unsupported")
        self._rest.clear()


def wrong(name: str, value: Any, expected: str) -> ApiError:
    """Return the error for a field whose value is invalid."""
    return invalid(name, f"{name} is {shown(value)}: expected {expected}")


def shown(value: Any) -> str:
    """Return a value for an error, shortened."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
