"""Tables for people, laid out for the width that there is.

Where a table is wider than the terminal, nothing is cut: columns that its caller gave up are named below it, words wrap within
their column, and then the columns at the right move to indented lines below their row, each value with its heading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab import printable
from lmlab.hardware.terminal import HANGING_INDENT, columns_of, encodable, padded, wrapped

GAP = "  "
LEAST_WORDS = 24
"""Columns that a column of words keeps: narrower ones are hard to read, and it moves below its row."""
INDENT = 4


@dataclass(frozen=True)
class Column:
    """One column: its heading, and how its cells are set."""

    name: str
    right: bool = False
    """Numbers, at the right of their column."""
    wraps: bool = False
    """Words that may take several lines."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under their headings; a plain string among the rows is a line of its own between them."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...] | str, ...]
    given_up: tuple[str, ...] = ()
    """Headings of columns that a narrow terminal loses, the first one first; a line below the table names them."""
    blocks: bool = False
    """Columns without room come in further blocks of rows, each with the first column again: for columns that are alike."""

    def __str__(self) -> str:
        """The whole table, as wide as it is."""
        return "\n".join(self.lines())

    def lines(self, width: int | None = None, encoding: str = "utf-8") -> list[str]:
        """The heading and the rows in lines of at most `width` columns; None prints a line a row.

        Only a word that is wider than the terminal itself makes a line that is wider.
        """
        head = tuple(column.name for column in self.columns)
        cells = [
            encodable(printable(row), encoding)
            if isinstance(row, str)
            else tuple(encodable(printable(cell), encoding) for cell in row)
            for row in (head, *self.rows)
        ]
        kept, lost = self._kept(cells, width)
        laid = _laid_out(
            [self.columns[place] for place in kept], [_only(row, kept) for row in cells], width, self.blocks
        )
        return [*laid, *(wrapped(f"no room for: {', '.join(lost)}", width) if lost else ())]

    def _kept(self, cells: Sequence[tuple[str, ...] | str], width: int | None) -> tuple[list[int], list[str]]:
        """The places of the columns that are shown, and the headings of those that are given up."""
        kept, lost = list(range(len(self.columns))), []
        for name in self.given_up:
            if width is None or _total(_widths([_only(row, kept) for row in cells])) <= width:
                break
            place = next((place for place in kept if self.columns[place].name == name), None)
            if place is not None:
                kept.remove(place)
                lost.append(name)
        return kept, lost


@dataclass(frozen=True)
class Styled:
    """A line with a style of rich's, such as "bold green", for terminals that have colours."""

    text: str
    style: str

    def __str__(self) -> str:
        """The line."""
        return self.text


@dataclass(frozen=True)
class Quoted:
    """A line that a model or a file wrote: spaces in it are its own and no columns, and it goes on where it begins."""

    text: str

    def __str__(self) -> str:
        """The line."""
        return self.text


Part = str | Styled | Quoted | Table
"""What a page for people is made of: lines and tables, in the order in which they are read."""


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[str] = (), wraps: Sequence[str] = ()
) -> Table:
    """A table whose columns are numbers, but for those named in `words` and, where they may take several lines, in `wraps`."""
    columns = tuple(Column(name, name not in (*words, *wraps), name in wraps) for name in headings)
    return Table(columns=columns, rows=tuple(tuple(row) for row in rows))


def _only(row: tuple[str, ...] | str, kept: Sequence[int]) -> tuple[str, ...] | str:
    return row if isinstance(row, str) else tuple(row[place] for place in kept)


def _widths(rows: Sequence[tuple[str, ...] | str]) -> list[int]:
    cells = [row for row in rows if not isinstance(row, str)]
    return [max(columns_of(row[place]) for row in cells) for place in range(len(cells[0]))]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _laid_out(
    columns: Sequence[Column], rows: Sequence[tuple[str, ...] | str], width: int | None, blocks: bool
) -> list[str]:
    widths = _widths(rows)
    beside = len(columns)
    if width is not None and _total(widths) > width:
        least = [
            _least(rows, place) if column.wraps or not place else widths[place] for place, column in enumerate(columns)
        ]
        beside = next((many for many in range(beside, 1, -1) if _total(least[:many]) <= width), 1)
        if blocks and 1 < beside < len(columns):
            first, rest = list(range(beside)), [0, *range(beside, len(columns))]
            parts = [
                ([columns[one] for one in places], [_only(row, places) for row in rows]) for places in (first, rest)
            ]
            return [line for some, cells in parts for line in ("", *_laid_out(some, cells, width, blocks))][1:]
        widths = _widened(least[:beside], widths[:beside], width)
    lines: list[str] = []
    for number, row in enumerate(rows):
        if isinstance(row, str):
            lines += wrapped(row, width)
            continue
        lines += _beside(columns[:beside], row[:beside], widths)
        below = list(zip(columns[beside:], row[beside:], strict=True))
        lines += _below(below, width, heads=number == 0) if width is not None else []
    return lines


def _least(rows: Sequence[tuple[str, ...] | str], place: int) -> int:
    """How narrow a column of words may become: never narrower than its longest word."""
    cells = [row[place] for row in rows if not isinstance(row, str)]
    longest = max((columns_of(word) for cell in cells for word in cell.split(" ")), default=0)
    return min(max(longest, LEAST_WORDS), max(map(columns_of, cells)))


def _widened(least: Sequence[int], wanted: Sequence[int], width: int) -> list[int]:
    """The least widths, with what is left of the line shared among the columns that want more, the smallest wish first."""
    widths, spare = list(least), max(0, width - _total(least))
    wishes = sorted((wish - least[place], place) for place, wish in enumerate(wanted) if wish > least[place])
    for rank, (wish, place) in enumerate(wishes):
        given = min(wish, spare // (len(wishes) - rank))
        widths[place] += given
        spare -= given
    return widths


def _beside(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row's cells beside each other; a column of words takes as many lines as it needs."""
    parts = [
        wrapped(cell, width, indent=0 if place else HANGING_INDENT) if column.wraps or not place else [cell]
        for place, (column, cell, width) in enumerate(zip(columns, cells, widths, strict=True))
    ]
    lines = []
    for number in range(max(map(len, parts))):
        shown = [part[number] if number < len(part) else "" for part in parts]
        laid = [padded(cell, size, column.right) for cell, size, column in zip(shown, widths, columns, strict=True)]
        lines.append(GAP.join(laid).rstrip(" "))
    return lines


def _below(cells: Sequence[tuple[Column, str]], width: int, heads: bool) -> list[str]:
    """Cells that found no room beside the others, indented: each with its heading, unless there is only one.

    `heads`: the row is that of the headings, which name what stands below where it is one column.
    """
    margin = " " * INDENT
    if len(cells) == 1:
        return wrapped(margin + cells[0][1], width, indent=INDENT) if cells[0][1] else []
    lines: list[str] = []
    for column, cell in () if heads else cells:
        pair = f"{column.name}: {cell}" if column.name else cell
        if not cell:
            continue
        if lines and columns_of(lines[-1]) + len(GAP) + columns_of(pair) <= width:
            lines[-1] += GAP + pair
        else:
            lines += wrapped(margin + pair, width, indent=INDENT + HANGING_INDENT)
    return lines
