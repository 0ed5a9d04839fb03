"""Documents from the rows of shards, each with the place of the first row after it.

By the rule `records` a row is a document. By `articles` a row is a line, and a document an article in WikiText's layout, which
may go on in the next row group and the next file of its part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lmlab.data.documents import is_heading, line_of_row
from lmlab.data.shards.rows import Place, Rows


class ShardDocument(NamedTuple):
    """A document, before anything is left out."""

    text: str
    shard: int
    """The file in which it begins."""
    after: Place
    """The first row after it."""


def records(rows: Iterable[Rows]) -> Iterator[ShardDocument]:
    """Yield each row as a document."""
    for place, texts in rows:
        for number, text in enumerate(texts, place.row + 1):
            yield ShardDocument(text, place.shard, place._replace(row=number))


class _Line(NamedTuple):
    text: str
    place: Place


def articles(rows: Iterable[Rows], parts: list[str]) -> Iterator[ShardDocument]:
    """Yield the articles: ` = Title = ` between two blank lines begins one. `parts`: of each file, in which no article of another
    goes on.
    """
    held: list[_Line] = []
    heading: _Line | None = None
    after_blank = True
    for line in _lines(rows):
        before = heading or (held[-1] if held else None)
        if before is not None and parts[line.place.shard] != parts[before.place.shard]:
            yield _joined([*held, *([heading] if heading else [])], line.place)
            held, heading, after_blank = [], None, True
        blank = line.text.isspace()
        if heading is not None:
            if blank and held:
                yield _joined(held, heading.place)
                held = []
            held.append(heading)
            heading = None
        if after_blank and is_heading(line.text):
            heading = line
        else:
            held.append(line)
        after_blank = blank
    if heading is not None:
        held.append(heading)
    if held:
        yield _joined(held, held[-1].place._replace(row=held[-1].place.row + 1))


def _joined(lines: list[_Line], after: Place) -> ShardDocument:
    return ShardDocument("".join(line.text for line in lines), lines[0].place.shard, after)


def _lines(rows: Iterable[Rows]) -> Iterator[_Line]:
    for place, texts in rows:
        for number, text in enumerate(texts, place.row):
            yield _Line(line_of_row(text), place._replace(row=number))
