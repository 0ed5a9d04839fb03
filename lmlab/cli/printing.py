"""Output of the command line: lines, tables, verbatim text, and JSON.

Most of the output quotes text that lmlab did not write: names, files, logs, generated text. So every verb prints through these
functions, and nothing in it reaches the terminal as an escape sequence. In a terminal, lines and tables are fitted to its width;
in a pipe a line stays a line. Characters that the encoding lacks are shown in ASCII.
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

    A line break within a line is shown as `\\n`; a line wider than the terminal is wrapped at a space, with indentation.
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
    """Return a `Table`, or anything else as one line, as lines of at most `width` columns (None: unlimited)."""
    if isinstance(part, Table):
        return part.lines(width, encoding)
    line = encodable(printable(part), encoding)
    return wrapped(line, width, len(line) - len(line.lstrip(" ")) if isinstance(part, Quoted) else None)


def _print_styled(lines: list[str], style: str, stream: TextIO) -> None:
    """Print lines in a style where the terminal supports it, and NO_COLOR isn't set; without it elsewhere."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        print(*lines, sep="\n", file=stream)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def show_text(text: str, end: str = "\n") -> None:
    """Print text of several lines verbatim; with an empty `end` a piece of it, immediately.

    Characters are escaped one by one, so that an escape sequence split over two pieces is escaped, too.
    """
    print(printable(text, lines=True), end=end, flush=True)


def show_json(value: Any) -> None:
    """Print a value as ASCII JSON: control characters and lone surrogates become JSON's own escapes."""
    print(json.dumps(without_nan(value), indent=2))


def never_fail_to_encode() -> None:
    """Make standard output and error show characters that their encoding lacks in ASCII, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        # A caller of `main` may have replaced them.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors=ERRORS)  # type: ignore[union-attr]
