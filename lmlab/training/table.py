"""Layout of text tables for the width of a terminal.

If a table is wider than the terminal, no cell is truncated: columns that the caller marked as droppable are dropped and named
below the table, text columns wrap, and then the rightmost columns move to indented lines below their row, each value with its
heading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab import printable
from lmlab.hardware.terminal import HANGING_INDENT, columns_of, encodable, padded, wrapped

GAP = "  "
LEAST_WORDS = 24
"""Minimum width of a text column; a column that would be narrower moves below its row."""
INDENT = 4


@dataclass(frozen=True)
class Column:
    """One column: its heading and alignment."""

    name: str
    right: bool = False
    """Whether cells are right-aligned, as numbers are."""
    wraps: bool = False
    """Whether cells may wrap to several lines."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells with headings; a plain string among the rows is printed as a line between them."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...] | str, ...]
    given_up: tuple[str, ...] = ()
    """Headings of columns that are dropped in a narrow terminal, in this order; a line below the table names them."""
    blocks: bool = False
    """Whether columns that don't fit form further blocks of rows, each repeating the first column; for similar columns."""

    def __str__(self) -> str:
        """Return the whole table at its full width."""
        return "\n".join(self.lines())

    def lines(self, width: int | None = None, encoding: str = "utf-8") -> list[str]:
        """Return the headings and rows as lines of at most `width` columns; None: no limit, one line a row.

        Only a word that is wider than `width` makes a wider line.
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
        return [*laid, *(wrapped(f"not shown: {', '.join(lost)}", width) if lost else ())]

    def _kept(self, cells: Sequence[tuple[str, ...] | str], width: int | None) -> tuple[list[int], list[str]]:
        """Return the indices of the columns that are shown, and the headings of those that are dropped."""
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
    """A line with a rich style, such as "bold green", for terminals with colours."""

    text: str
    style: str

    def __str__(self) -> str:
        """Return the line without its style."""
        return self.text


@dataclass(frozen=True)
class Quoted:
    """A line of a model's output or of a file: its spaces don't separate columns, and wrapped lines keep its indentation."""

    text: str

    def __str__(self) -> str:
        """Return the line."""
        return self.text


Part = str | Styled | Quoted | Table
"""A part of a page of text output."""


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[str] = (), wraps: Sequence[str] = ()
) -> Table:
    """Return a table of right-aligned columns, except for the text columns named in `words`, and in `wraps`, which may wrap."""
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
    """Return the minimum width of a text column: LEAST_WORDS or its longest word, at most its full width."""
    cells = [row[place] for row in rows if not isinstance(row, str)]
    longest = max((columns_of(word) for cell in cells for word in cell.split(" ")), default=0)
    return min(max(longest, LEAST_WORDS), max(map(columns_of, cells)))


def _widened(least: Sequence[int], wanted: Sequence[int], width: int) -> list[int]:
    """Return the least widths plus shares of the remaining width, distributed evenly up to each column's wanted width."""
    widths, spare = list(least), max(0, width - _total(least))
    wider = sorted((size - least[place], place) for place, size in enumerate(wanted) if size > least[place])
    for rank, (extra, place) in enumerate(wider):
        given = min(extra, spare // (len(wider) - rank))
        widths[place] += given
        spare -= given
    return widths


def _beside(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the lines of one row with its cells side by side; wrapped cells take several lines."""
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
    """Return indented lines of the cells that don't fit beside the others, each with its heading, unless there is only one.

    `heads`: whether the row is that of the headings, which is shown only for a single column.
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
