"""JSON out of a file that may come from anywhere: only what every reader understands alike, and what stays small.

Refused beside what is no JSON: names that stand twice, NaN and infinities, numbers that no float can hold, values that
are nested deeper than any of ours. So whoever reads a value may walk through it and do arithmetic with it. What is many
times larger in memory than on the disk is refused before it is parsed: `[],` has 3 bytes, and an empty list 70.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

DEEPEST = 32
"""Levels of lists and objects; the deepest value that lmlab writes has 5."""
MOST_DIGITS = 40
"""Of a whole number: more than 128 bits have, and far from what a float can't hold."""
MOST_LISTS = 1 << 20
"""Lists and objects; a corpus of a million files has as many."""
MOST_NAMES = 1 << 20
MOST_VALUES = 8 << 20
"""Entries of lists and objects; a tokenizer of millions of words has one for each."""
COUNTED_BYTES = 1 << 16


def parse_json(content: bytes) -> Any:
    """The JSON value in UTF-8 bytes; ValueError in one line where it is none, or one that can't be trusted."""
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


class _Counts(NamedTuple):
    """How much there is at most in some JSON; what stands in texts is counted too where they aren't taken out."""

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
        """What there is too much of, or nothing."""
        if self.lists > MOST_LISTS:
            return f"it has more than {MOST_LISTS:,} lists and objects"
        if self.names > MOST_NAMES:
            return f"it has more than {MOST_NAMES:,} names"
        return f"it has more than {MOST_VALUES:,} values" if self.values > MOST_VALUES else ""


def require_few(content: bytes) -> None:
    """ValueError where `content` would have too many values; brackets, colons and commas in texts don't count."""
    if len(content) > MOST_LISTS and _Counts.of(content).problem():
        problem = _count_outside_texts(content).problem()
        if problem:
            raise ValueError(problem)


def _count_outside_texts(content: bytes) -> _Counts:
    """The counts, as far as the first that is too high; a part at a time, which takes little memory and no parser."""
    content = content.replace(rb"\\", b"").replace(rb"\"", b"")  # what is left of quotation marks begins or ends a text
    counts, begin = _Counts(0, 0, 0), 0
    while begin < len(content) and not counts.problem():
        end = begin + COUNTED_BYTES
        if content.count(b'"', begin, end) % 2:  # it would end inside a text
            end = content.find(b'"', end) + 1 or len(content)
        counts += _Counts.of(b"".join(content[begin:end].split(b'"')[::2]))
        begin = end
    return counts


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
