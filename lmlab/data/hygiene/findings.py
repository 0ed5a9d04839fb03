"""Findings in a text, counted by kind, with a few examples and their places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmlab.data.hygiene.stretches import Places, Stretch

EXAMPLES = 3
BEFORE_BYTES = 24
AFTER_BYTES = 56


@dataclass
class Finding:
    """The findings of one kind in one split."""

    kind: str
    count: int = 0
    documents: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)
    last_document: int = -1

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"kind": self.kind, "count": self.count, "documents": self.documents, "examples": self.examples}


class Findings:
    """The findings of one split, collected from its stretches in order."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._found: dict[str, Finding] = {}

    def add(
        self, kind: str, stretch: Stretch, positions: np.ndarray, shown: bytes, notes: list[str] | None = None
    ) -> None:
        """Add findings of one kind at these byte offsets of a stretch (int64, ascending).

        `shown` is the stretch's text with secrets masked, for the excerpts; `notes` has a remark for each finding.
        """
        if not len(positions):
            return
        finding = self._found.setdefault(kind, Finding(kind))
        documents, offsets = stretch.places(positions)
        finding.count += len(positions)
        finding.documents += int((np.diff(documents) != 0).sum()) + int(documents[0] != finding.last_document)
        finding.last_document = int(documents[-1])
        for index in range(min(len(positions), EXAMPLES - len(finding.examples))):
            finding.examples.append(
                {
                    **self._places.of_byte(int(documents[index]), int(offsets[index])),
                    "excerpt": around(stretch, shown, int(positions[index])),
                    "note": notes[index] if notes else "",
                }
            )

    def to_json(self, order: list[str]) -> list[dict[str, Any]]:
        """Return the kinds found, in the order of `order`."""
        return [self._found[kind].to_json() for kind in order if kind in self._found]


def around(stretch: Stretch, shown: bytes, position: int) -> str:
    """Return the text around a byte of a stretch, within its document, as visible characters."""
    index = max(0, int(np.searchsorted(stretch.begins, position, side="right")) - 1)
    low = int(stretch.begins[index])
    high = int(stretch.begins[index + 1]) - 1 if index + 1 < len(stretch.begins) else len(shown)
    begin, end = max(low, position - BEFORE_BYTES), min(high, max(position, low) + AFTER_BYTES)
    return visible(shown[begin:end])


def visible(text: bytes) -> str:
    """Return UTF-8 text as visible characters, with escapes for others; a partial character at either end is left out.

    Stricter than `printable`, since odd characters are to be seen: joiners and no-break spaces are escaped too.

    >>> visible("a\\u200bb\\n".encode())
    'a\\\\u200bb\\\\n'
    """
    begin = next((place for place, byte in enumerate(text[:4]) if byte & 0xC0 != 0x80), 0)
    characters = text[begin:].decode("utf-8", "ignore")
    return "".join(one if one.isprintable() else _escape(one) for one in characters)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
