"""The terminal behind a stream: its width, what its encoding can represent, and text wrapped to both.

A pipe or a file has no width: nothing written to it is wrapped or shortened.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
from typing import Any

ERRORS = "lmlab.fallback"
"""The name of the codec error handler that writes `FALLBACKS`."""
FALLBACKS = {
    **dict(zip("▁▂▃▄▅▆▇█", "_.-~=+*#", strict=True)),  # the bars of a trend, by height
    **dict.fromkeys("▏▎▍▌▋▊▉", "|"),
    **dict.fromkeys("─━═╴╶╸╺", "-"),
    **dict.fromkeys("│┃║╵╷", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╔╗╚╝╠╣╦╩╬┏┓┗┛┡┩", "+"),
    **{"…": "...", "±": "+-", "×": "x", "·": "-", "•": "*", "–": "-", "—": "-", "−": "-", "°": " degrees"},
    **{"→": "->", "←": "<-", "↑": "^", "↓": "v", "≤": "<=", "≥": ">=", "≈": "~", "✓": "ok", "✕": "x", "✗": "x"},
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "µ": "u", "μ": "u", "²": "^2"},  # noqa: RUF001
}
"""ASCII for the characters that lmlab prints where an encoding lacks them; any other is shown as an escape such as \\u4e2d."""
HANGING_INDENT = 2
COLUMN_GAP = re.compile(r"(?<=\S) {2,}")


def width_of(stream: Any) -> int | None:
    """Return the columns of the terminal behind `stream`, or COLUMNS if that is set; None for a pipe, a file or an unknown
    width.
    """
    try:
        if not stream.isatty():
            return None
        columns = os.environ.get("COLUMNS", "")
        return (int(columns) if columns.isdecimal() else 0) or os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


def encoding_of(stream: Any) -> str:
    """Return the encoding of a text stream; UTF-8 if it names none."""
    return getattr(stream, "encoding", None) or "utf-8"


def encodable(text: str, encoding: str) -> str:
    """Return `text` with `FALLBACKS` or escapes for characters that `encoding` lacks, so that the measured width is the written
    one.
    """
    if text.isascii():
        return text
    with contextlib.suppress(LookupError, UnicodeDecodeError):
        return text.encode(encoding, ERRORS).decode(encoding)
    return text


def columns_of(text: str) -> int:
    """Return the columns that `text` takes in a terminal: two for each wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int, right: bool = False) -> str:
    """Return `text` padded to `width` columns with spaces after it, or before it with `right`."""
    space = " " * max(0, width - columns_of(text))
    return space + text if right else text + space


def wrapped(text: str, width: int | None, indent: int | None = None) -> list[str]:
    """Return `text` in lines of at most `width` columns, broken at spaces only: a wider word stays whole on its own line.

    Continuation lines begin with `indent` spaces; by default they align with the last column of the line (words after two or more
    spaces) in its left half, or are indented by two more spaces than the first line. `width` None: one line.
    """
    if width is None or columns_of(text) <= width:
        return [text]
    margin = len(text) - len(text.lstrip(" "))
    if indent is None:
        columns = [found.end() for found in COLUMN_GAP.finditer(text, margin) if found.end() <= width // 2]
        indent = max(columns, default=margin + HANGING_INDENT)
    hanging = " " * min(indent, width // 2)
    lines, line, empty = [], " " * margin, True
    for word in text[margin:].split(" "):
        # Spaces in a row separate columns: they stay, as empty words, except at a line's end.
        longer = line + word if empty else f"{line} {word}"
        if columns_of(longer.rstrip(" ")) > width and line.strip():
            lines.append(line.rstrip(" "))
            longer = hanging + word
        line, empty = longer, not word and longer == hanging
    return [*lines, line.rstrip(" ")] if line.strip() else lines


def _fallback(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return the replacement for characters that can't be encoded, from `FALLBACKS` or as escapes (see `codecs.register_error`)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    shown = "".join(FALLBACKS.get(sign) or sign.encode("unicode_escape").decode("ascii") for sign in signs)
    return shown, error.end


codecs.register_error(ERRORS, _fallback)
