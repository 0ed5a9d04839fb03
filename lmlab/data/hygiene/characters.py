"""Invisible or suspicious characters, by their Unicode category.

Which code points are unassigned depends on the Unicode version of this Python (`unicodedata.unidata_version`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np

CODE_POINTS = 0x110000

KINDS = {
    "control": "control characters, line and paragraph separators",
    "carriage_return": "carriage returns",
    "zero_width": "zero-width and blank characters",
    "byte_order_mark": "byte order marks inside a text",
    "bidirectional": "marks that turn the direction of writing",
    "tag": "tag characters and variation selectors of plane 14 (they can hide a text)",
    "soft_hyphen": "soft hyphens",
    "replacement": "replacement characters (U+FFFD: what was there is lost)",
    "private_use": "characters of private use",
    "unassigned": "unassigned code points",
    "mojibake": "UTF-8 that was read as Latin-1 or Windows-1252",
}
NUMBER = {kind: number for number, kind in enumerate(KINDS, 1)}

SETS: dict[str, tuple[int, ...]] = {
    "control": (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029),
    "carriage_return": (0x0D,),
    "zero_width": (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, *range(0x200B, 0x200E), *range(0x2060, 0x2065),
                   0x2800, 0x3164, 0xFFA0),
    "byte_order_mark": (0xFEFF,),
    "bidirectional": (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x2070)),
    "tag": (*range(0xE0000, 0xE0080), *range(0xE0100, 0xE01F0)),
    "soft_hyphen": (0x00AD,),
    "replacement": (0xFFFD,),
}  # fmt: skip
ORDINARY = (0x09, 0x0A)

MOJIBAKE = re.compile(rb"\xc3\xa2(?:\xe2\x82\xac|\xc2\x80)|\xc3[\x82\x83]\xc2[\x80-\xbf]")
"""The results for punctuation (\u00e2\u20ac, \u00e2 and a control character) and for letters with accents (\u00c3 or \u00c2 and a
sign)."""
NEEDLES = (b"\xc3\xa2\xe2\x82\xac", b"\xc3\xa2\xc2\x80", b"\xc3\x82\xc2", b"\xc3\x83\xc2")


@cache
def classes() -> np.ndarray:
    """Return uint8 [CODE_POINTS]: 0 for ordinary characters, else the number of the kind."""
    table = np.zeros(CODE_POINTS, np.uint8)
    for point in range(CODE_POINTS):
        category = unicodedata.category(chr(point))
        if category == "Cn":
            table[point] = NUMBER["unassigned"]
        elif category == "Co":
            table[point] = NUMBER["private_use"]
    for kind, points in SETS.items():
        table[list(points)] = NUMBER[kind]
    table[list(ORDINARY)] = 0
    table.flags.writeable = False
    return table


def odd_characters(text: bytes) -> dict[str, np.ndarray]:
    """Return kind -> int64 byte offsets in the UTF-8 text at which such a character begins; only the kinds that occur."""
    if text.isascii():
        kinds = classes()[:128][np.frombuffer(text, np.uint8)]
        hits = np.flatnonzero(kinds)
        found = _by_kind(kinds[hits], hits)
    else:
        points = np.frombuffer(
            text.decode("utf-8", "surrogateescape").encode("utf-32-le", "surrogatepass"), dtype="<u4"
        )
        kinds = classes()[points]
        hits = np.flatnonzero(kinds)
        found = _by_kind(kinds[hits], _byte_offsets(points)[hits]) if len(hits) else {}
    mojibake = [match.start() for match in MOJIBAKE.finditer(text)] if any(needle in text for needle in NEEDLES) else []
    return {**found, "mojibake": np.array(mojibake)} if mojibake else found


def name_of(text: bytes, position: int) -> str:
    """Return the code point of the character at a byte offset, as U+200B."""
    character = text[position : position + 4].decode("utf-8", "ignore")[:1]
    return f"U+{ord(character):04X}" if character else ""


def _by_kind(kinds: np.ndarray, positions: np.ndarray) -> dict[str, np.ndarray]:
    return {kind: positions[kinds == number] for kind, number in NUMBER.items() if (kinds == number).any()}


def _byte_offsets(points: np.ndarray) -> np.ndarray:
    """Return int64 [characters]: the byte offset of each in UTF-8; bytes that aren't UTF-8 are U+DC80 to U+DCFF here."""
    sizes = 1 + (points >= 0x80) + (points >= 0x800).astype(np.int64) + (points >= 0x10000)
    sizes[(points >= 0xDC80) & (points <= 0xDCFF)] = 1
    found: np.ndarray = np.cumsum(sizes) - sizes
    return found
