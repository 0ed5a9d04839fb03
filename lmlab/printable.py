"""Text that lmlab did not write, made safe to print: a name, a log or a model's own words may hold a terminal's escapes.

An escape sequence can clear the screen, rewrite earlier lines or set the clipboard, and a bidirectional override can show a name
as another one. This module imports nothing of lmlab, so that every floor can use it.
"""

from __future__ import annotations

import unicodedata

KEPT = "\u00ad\u200c\u200d\u200e\u200f"
"""Format characters that scripts need: soft hyphen, joiners, and the marks of a direction, which reorder no other text."""
LINES = "\n\t"


def printable(text: object, lines: bool = False) -> str:
    """`str(text)` with whatever a terminal would act on shown as an escape such as `\\x1b`; idempotent.

    That is: control characters, line breaks, bidirectional overrides and isolates, lone surrogates, and code points without a
    meaning. `lines` keeps newlines and tabs: for text that is shown as it was written rather than in a line of ours.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    kept = KEPT + LINES if lines else KEPT
    return "".join(sign if sign in kept or _harmless(sign) else _escaped(sign) for sign in shown)


def _harmless(sign: str) -> bool:
    """Letters, marks, numbers, punctuation, symbols and spaces."""
    return unicodedata.category(sign)[0] in "LMNPS" or unicodedata.category(sign) == "Zs"


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
