"""JSON out of a file that may come from anywhere: only what every reader understands alike, and what stays small.

Refused beside what is no JSON: names that stand twice, NaN and infinities, numbers that no float can hold, values that
are nested deeper than any of ours. So whoever reads a value may walk through it and do arithmetic with it.
"""

from __future__ import annotations

import json
import math
from typing import Any

DEEPEST = 32
"""Levels of lists and objects; the deepest value that lmlab writes has 5."""
MOST_DIGITS = 40
"""Of a whole number: more than 128 bits have, and far from what a float can't hold."""


def parse_json(content: bytes) -> Any:
    """The JSON value in UTF-8 bytes; ValueError in one line where it is none, or one that can't be trusted."""
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # Counting brackets is quick, and hardly a file has so many; those in texts are counted too.
    if content.count(b"[") + content.count(b"{") > DEEPEST and deeper_than(value, DEEPEST):
        raise ValueError("it is nested too deeply")
    return value


def deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than so many levels deep in `value`."""
    found = [value] if isinstance(value, (list, dict)) else []
    for _ in range(levels):
        entries = (entry for outer in found for entry in (outer.values() if isinstance(outer, dict) else outer))
        found = [entry for entry in entries if isinstance(entry, (list, dict))]
        if not found:
            return False
    return bool(found)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _whole_number(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a whole number has {len(text):,} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON's")
