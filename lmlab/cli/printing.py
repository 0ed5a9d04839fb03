"""How the command line prints: lines, tables, text as it was written, and JSON.

Most of what is printed quotes text that lmlab did not write: names, files, logs, a model's words. So every verb prints through
these functions, and nothing of it reaches the terminal as an escape sequence. In a terminal, lines and tables are fitted to its
width; in a pipe a line stays a line. What an encoding lacks is shown in ASCII.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any, TextIO

from lmlab import printable
from lmlab.files.durable import without_nan
from lmlab.hardware.terminal import ERRORS, encodable, encoding_of, width_of, wrapped
from lmlab.training.table import Quoted, Styled, Table


def show(*parts: object, file: TextIO | None = None, flush: bool = False) -> None:
    """Print each of `parts` on standard output, or to `file`: a `Table`, or anything else as one line.

    A line break within a line is shown as `\\n`; where the line is wider than the terminal, it goes on at a space, indented.
    """
    stream = file or sys.stdout
    width, encoding = width_of(stream), encoding_of(stream)
    for part in parts:
        lines = laid_out(part, width, encoding)
        if isinstance(part, Table):
            _print_styled(lines[:1], "bold", stream)
            lines = lines[1:]
        elif isinstance(part, Styled):
            _print_styled(lines, part.style, stream)
            continue
        for line in lines:
            print(line, file=stream)
    if flush:
        stream.flush()


def laid_out(part: object, width: int | None, encoding: str) -> list[str]:
    """A `Table`, or anything else as one line, in lines of at most `width` columns where there is a width."""
    if isinstance(part, Table):
        return part.lines(width, encoding)
    line = encodable(printable(part), encoding)
    return wrapped(line, width, len(line) - len(line.lstrip(" ")) if isinstance(part, Quoted) else None)


def _print_styled(lines: list[str], style: str, stream: TextIO) -> None:
    """Lines in a style where the terminal has any, and NO_COLOR isn't set; plain ones elsewhere."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        print(*lines, sep="\n", file=stream)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def show_text(text: str, end: str = "\n") -> None:
    """Print text of several lines as it was written; a piece of it with `end` empty, at once.

    Signs are escaped one by one, so that an escape sequence in two pieces doesn't get through.
    """
    print(printable(text, lines=True), end=end, flush=True)


def show_json(value: Any) -> None:
    """Print a value as JSON of ASCII alone: control characters and lone surrogates are JSON's own escapes."""
    print(json.dumps(without_nan(value), indent=2))


def never_fail_to_encode() -> None:
    """Let standard output and error show in ASCII what their encoding lacks, instead of an error in the middle."""
    for stream in (sys.stdout, sys.stderr):
        # Whoever calls `main` may have put something else in their place.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors=ERRORS)  # type: ignore[union-attr]
