"""JSON from untrusted files: only what all parsers agree on, with bounded size.

Refused besides invalid JSON: duplicate names, NaN and infinities, numbers that no float can hold, values that
are nested deeper than any of ours. So a value can be traversed and used in arithmetic safely. Input that would be many
times larger in memory than on the disk is refused before it is parsed: `[],` has 3 bytes, an empty list 70.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

DEEPEST = 32
"""Levels of nested lists and objects; the deepest value that lmlab writes has 5."""
MOST_DIGITS = 40
"""Digits of an integer: enough for more than 128 bits, and far below what overflows a float."""
MOST_LISTS = 1 << 20
"""Number of lists and objects; a corpus of a million files has about as many."""
MOST_NAMES = 1 << 20
MOST_VALUES = 8 << 20
"""Number of entries of lists and objects; a tokenizer of millions of words has one for each."""
COUNTED_BYTES = 1 << 16


def parse_json(content: bytes) -> Any:
    """Return the JSON value in UTF-8 bytes; raises ValueError in one line if it is invalid or not acceptable."""
    require_few(content)
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
    # Counting brackets is quick, and few files have so many; those inside strings are counted too.
    if content.count(b"[") + content.count(b"{") > DEEPEST and deeper_than(value, DEEPEST):
        raise ValueError("it is nested too deeply")
    return value


def deeper_than(value: Any, levels: int) -> bool:
    """Return whether lists and objects in `value` are nested more than `levels` deep."""
    found = [value] if isinstance(value, (list, dict)) else []
    for _ in range(levels):
        entries = (entry for outer in found for entry in (outer.values() if isinstance(outer, dict) else outer))
        found = [entry for entry in entries if isinstance(entry, (list, dict))]
        if not found:
            return False
    return bool(found)


class _Counts(NamedTuple):
    """Upper bounds on the lists, names and values in some JSON; characters inside strings are counted too unless they were
    removed.
    """

    lists: int
    names: int
    values: int

    @classmethod
    def of(cls, content: bytes) -> _Counts:
        lists = content.count(b"[") + content.count(b"{")
        return cls(lists, content.count(b":"), lists + content.count(b","))

    def __add__(self, other: Any) -> _Counts:
        return _Counts(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))

    def problem(self) -> str:
        """Return what there is too much of; empty if nothing."""
        if self.lists > MOST_LISTS:
            return f"it has more than {MOST_LISTS:,} lists and objects"
        if self.names > MOST_NAMES:
            return f"it has more than {MOST_NAMES:,} names"
        return f"it has more than {MOST_VALUES:,} values" if self.values > MOST_VALUES else ""


def require_few(content: bytes) -> None:
    """Raise ValueError if `content` would have too many values; brackets, colons and commas inside strings don't count."""
    if len(content) > MOST_LISTS and _Counts.of(content).problem():
        problem = _count_outside_texts(content).problem()
        if problem:
            raise ValueError(problem)


def _count_outside_texts(content: bytes) -> _Counts:
    """Return the counts outside strings, up to the first that is too high; works block by block without a parser."""
    content = content.replace(rb"\\", b"").replace(rb"\"", b"")  # the remaining quotation marks begin or end a string
    counts, begin = _Counts(0, 0, 0), 0
    while begin < len(content) and not counts.problem():
        end = begin + COUNTED_BYTES
        if content.count(b'"', begin, end) % 2:  # it would end inside a string
            end = content.find(b'"', end) + 1 or len(content)
        counts += _Counts.of(b"".join(content[begin:end].split(b'"')[::2]))
        begin = end
    return counts


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name is repeated")
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
    raise ValueError(f"{text} is not a JSON number")
