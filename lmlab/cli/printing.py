"""How the command line prints: lines, text as it was written, and JSON.

Most of what is printed quotes text that lmlab did not write: names, files, logs, a model's words. So every verb prints through
these functions, and nothing of it reaches the terminal as an escape sequence.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, TextIO

from lmlab import printable
from lmlab.files.durable import without_nan

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def show(*lines: object, file: TextIO | None = None, flush: bool = False) -> None:
    """Print each of `lines` as one line on standard output, or to `file`; a line break within one is shown as `\\n`."""
    for line in lines:
        print(printable(line), file=file, flush=flush)


def show_text(text: str, end: str = "\n") -> None:
    """Print text of several lines as it was written; a piece of it with `end` empty, at once.

    Signs are escaped one by one, so that an escape sequence in two pieces doesn't get through.
    """
    print(printable(text, lines=True), end=end, flush=True)


def show_json(value: Any) -> None:
    """Print a value as JSON of ASCII alone: control characters and lone surrogates are JSON's own escapes."""
    print(json.dumps(without_nan(value), indent=2))


def cells(*words: object) -> list[Text]:
    """A row for a rich table; as plain strings, rich would read markup, emoji codes and links in them."""
    from rich.text import Text

    return [Text(printable(word)) for word in words]


def show_table(table: Table) -> None:
    """Print a rich table as it is, without colours for what looks like a number or a path."""
    from rich.console import Console

    Console(highlight=False).print(table)


def never_fail_to_encode() -> None:
    """Let standard output and error show as an escape what their encoding lacks, instead of an error in the middle."""
    for stream in (sys.stdout, sys.stderr):
        # Whoever calls `main` may have put something else in their place.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
