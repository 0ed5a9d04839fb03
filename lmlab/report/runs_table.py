"""The runs of a folder as a table for people: once, or again and again while they train."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from lmlab import printable
from lmlab.experiment.listing import Row, Seeds, folded
from lmlab.report.labels import short
from lmlab.training.display import count, duration

HEADINGS = (
    "run",
    "status",
    "corpus",
    "parameters",
    "tokens",
    "loss",
    "bits/byte",
    "time",
    "tokens/s",
    "device",
    "tags",
)
WORDS = ("run", "status", "corpus", "device", "tags")
GIVEN_UP = ("tags", "device", "corpus", "tokens/s")
"""Columns that a narrow terminal loses, the first first."""
LEAST_DEVICE, LONGEST_NAME, LONGEST_CORPUS = 12, 40, 24
GAP = "  "
NUMBER = re.compile(r"[-_.]s?\d+$")


def table_lines(
    rows: Sequence[Row], groups: Sequence[Seeds], *, grouped: bool = False, width: int | None = None
) -> list[str]:
    """The table, and below it each family of seeds as mean and standard deviation; `grouped` has them in their runs' place.

    `width` is that of the terminal: columns shrink and go until the lines fit. None prints them whole.
    """
    if not rows:
        return ["no runs"]
    shown = folded(rows, groups) if grouped else list(rows)
    cells = [_group_cells(one) if isinstance(one, Seeds) else _cells(one) for one in shown]
    below = [] if grouped else [_group_cells(one) for one in groups]
    lines = _aligned([dict(zip(HEADINGS, HEADINGS, strict=True)), *cells, *below], width)
    table = lines[: 1 + len(cells)]
    if not below:
        return table
    return [*table, "", "seeds of one recipe, mean ± standard deviation:", *lines[1 + len(cells) :]]


def watch(lines: Callable[[int, int], list[str]], seconds: float) -> None:
    """Draw what `lines(width, height)` gives again every so many seconds, until KeyboardInterrupt."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()

    def drawn() -> Text:
        shown = "\n".join(map(printable, lines(console.width, console.height)))
        return Text(shown, no_wrap=True, overflow="ellipsis")

    with Live(drawn(), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(seconds)
            live.update(drawn(), refresh=True)


def fitting(lines: Sequence[str], height: int, *, newest_last: bool) -> list[str]:
    """A table that is cut to a screen's height: its heading, and the newest rows, or the first ones where it is sorted."""
    room = max(1, height - 3)
    if len(lines) <= room + 1:
        return list(lines)
    hidden = len(lines) - 1 - room
    rows = lines[-room:] if newest_last else lines[1 : 1 + room]
    return [lines[0], *rows, f"and {hidden} lines {'before these' if newest_last else 'more'}"]


def _cells(row: Row) -> dict[str, str]:
    return {
        "run": short(row.name, LONGEST_NAME),
        "status": _status(row),
        "corpus": _corpus(row.corpus),
        "parameters": _known(row.parameters, count),
        "tokens": _known(row.tokens, count),
        "loss": _known(row.loss, "{:.4f}".format),
        "bits/byte": _known(row.bits_per_byte, "{:.4f}".format),
        "time": _known(row.seconds, duration),
        "tokens/s": _known(row.tokens_per_second, "{:,.0f}".format),
        "device": row.device or "?",
        "tags": ", ".join(row.tags),
    }


def _group_cells(group: Seeds) -> dict[str, str]:
    first = group.first
    runs = "" if len(group.names) == group.seeds else f" in {len(group.names)} runs"
    return {
        "run": f"{short(_group_name(group), LONGEST_NAME)}: {_seeds(group.seeds)}{runs}",
        "status": first.status,
        "corpus": _corpus(first.corpus),
        "parameters": _known(first.parameters, count),
        "tokens": _known(first.tokens, count),
        "loss": _spread(group, "loss", "{:.4f}"),
        "bits/byte": _spread(group, "bits_per_byte", "{:.4f}"),
        "time": _known(group.means["seconds"], duration),
        "tokens/s": _spread(group, "tokens_per_second", "{:,.0f}"),
        "device": first.device or "?",
        "tags": "",
    }


def _group_name(group: Seeds) -> str:
    """What the runs' names have in common before their numbers (study-cell-s1, study-cell-s2), else the recipe's name."""
    stems = {NUMBER.sub("", name) for name in group.names}
    return stems.pop() if len(stems) == 1 else group.first.recipe_name or group.first.name


def _seeds(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _spread(group: Seeds, name: str, form: str) -> str:
    mean, deviation = group.means[name], group.deviations[name]
    if mean is None:
        return "?"
    return form.format(mean) + ("" if deviation is None else f" ± {form.format(deviation)}")


def _status(row: Row) -> str:
    if row.status not in ("running", "stopped") or not row.steps:
        return row.status
    return f"{row.status} {min(1.0, row.step / row.steps):.0%}"


def _corpus(corpus: str | None) -> str:
    """A catalogue name, or the last part of a path."""
    return "?" if not corpus else short(PurePath(corpus).name or corpus, LONGEST_CORPUS)


def _known(value: Any, written: Callable[[Any], str]) -> str:
    return "?" if value is None else written(value)


def _aligned(rows: Sequence[dict[str, str]], width: int | None) -> list[str]:
    """Columns as wide as their longest cell, numbers to the right; those that no row fills, and those that don't fit, go."""
    rows = [{name: printable(text) for name, text in row.items()} for row in rows]
    columns = [name for name in HEADINGS if name != "tags" or any(row["tags"] for row in rows[1:])]
    widths = {name: max(len(row[name]) for row in rows) for name in columns}

    def total() -> int:
        return sum(widths.values()) + len(GAP) * (len(widths) - 1)

    if width is not None and "device" in widths and total() > width:
        widths["device"] = max(LEAST_DEVICE, widths["device"] - (total() - width))
    for name in GIVEN_UP:
        if width is not None and total() > width:
            widths.pop(name, None)
    return [GAP.join(_cell(name, row[name], size) for name, size in widths.items()).rstrip() for row in rows]


def _cell(name: str, text: str, size: int) -> str:
    return short(text, size).ljust(size) if name in WORDS else text.rjust(size)
