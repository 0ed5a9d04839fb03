"""The runs of a folder as a text table: once, or repeatedly while they train."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lmlab import printable
from lmlab.experiment.choosing import value_of
from lmlab.experiment.listing import AVERAGED, ListedRun, Seeds, folded
from lmlab.recipe.quantities import byte_count, count, duration
from lmlab.report.labels import short
from lmlab.training.table import Column, Part, Table

LONGEST_NAME, LONGEST_CORPUS = 40, 24
NUMBER = re.compile(r"[-_.]s?\d+$")
HEADINGS: Mapping[str, str] = {
    **{"name": "run", "status": "status", "corpus": "corpus", "parameters": "parameters", "tokens": "tokens"},
    **{"epochs": "epochs", "loss": "loss", "perplexity": "perplexity", "accuracy": "accuracy"},
    **{"bits_per_byte": "bits/byte", "seconds": "time", "step_seconds": "ms a step", "epoch_seconds": "s an epoch"},
    **{"tokens_per_second": "tokens/s", "device": "device", "disk_bytes": "disk", "tags": "tags"},
}
"""The columns of the table, in order: a row's field and the heading."""
GIVEN_UP = (
    *("device", "epoch_seconds", "step_seconds", "epochs", "accuracy", "perplexity", "tags", "corpus"),
    *("tokens_per_second", "bits_per_byte", "disk_bytes"),
)
"""Columns that are dropped in a narrow terminal, in this order."""
WORDS = ("name", "status", "corpus", "device", "tags", "created", "id", "family", "recipe_name")


def runs_parts(
    rows: Sequence[ListedRun], groups: Sequence[Seeds], *, grouped: bool = False, fields: Sequence[str] = ()
) -> list[Part]:
    """Return the table, and below it each family of seeds as mean and standard deviation; with `grouped` these replace their runs.

    `fields` are the columns to show, named as by `check_field`, and none is then dropped in a narrow terminal; by default those of
    `HEADINGS`, tags only where a run has one.
    """
    if not rows:
        return ["no runs"]
    names = list(fields) or [name for name in HEADINGS if name != "tags" or any(row.tags for row in rows)]
    names = names if "name" in names else ["name", *names]
    shown = _table(folded(rows, groups) if grouped else rows, names, given_up=not fields)
    if not groups or grouped:
        return [shown]
    below = [name for name in names if name != "tags"]
    return [shown, "", "seeds of one recipe, mean ± standard deviation:", _table(groups, below, given_up=not fields)]


def total_line(rows: Sequence[ListedRun]) -> str:
    """Return the total size of the runs."""
    return (
        f"{byte_count(sum(row.disk_bytes for row in rows))} on disk in {len(rows)} run{'' if len(rows) == 1 else 's'}"
    )


def _table(rows: Sequence[ListedRun | Seeds], names: Sequence[str], given_up: bool) -> Table:
    return Table(
        columns=tuple(Column(HEADINGS.get(name, name), right=name not in WORDS) for name in names),
        rows=tuple(_cells(one, names) for one in rows),
        given_up=tuple(HEADINGS[name] for name in GIVEN_UP) if given_up else (),
    )


def watch(lines: Callable[[int, int], list[str]], seconds: float) -> None:
    """Redraw the result of `lines(width, height)` every so many seconds, until KeyboardInterrupt."""
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
    """Cut a table to a screen's height: its heading, and the newest rows, or the first ones where it is sorted."""
    room = max(1, height - 3)
    if len(lines) <= room + 1:
        return list(lines)
    hidden = len(lines) - 1 - room
    rows = lines[-room:] if newest_last else lines[1 : 1 + room]
    return [lines[0], *rows, f"and {hidden} lines {'before these' if newest_last else 'more'}"]


def _cells(one: ListedRun | Seeds, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_group_cell(one, name) if isinstance(one, Seeds) else _cell(one, name) for name in names)


def _cell(row: ListedRun, name: str) -> str:
    if name == "name":
        return short(row.name, LONGEST_NAME)
    if name == "status":
        return _status(row)
    if name == "corpus":
        return _corpus(row.corpus)
    if name == "tags":
        return ", ".join(row.tags)
    return _known(value_of(row, name), form_of(name))


def _group_cell(group: Seeds, name: str) -> str:
    if name == "name":
        runs = "" if len(group.names) == group.seeds else f" in {len(group.names)} runs"
        return f"{short(_group_name(group), LONGEST_NAME)}: {_seeds(group.seeds)}{runs}"
    if name not in AVERAGED:
        return _cell(group.first, name)
    mean, deviation = group.means[name], group.deviations[name]
    # Durations also vary with the load of the machine, so their spread isn't shown.
    spread = deviation is not None and name not in ("seconds", "disk_bytes")
    return _known(mean, form_of(name)) + (f" ± {form_of(name)(deviation)}" if spread else "")


def form_of(name: str) -> Callable[[Any], str]:
    """Return the format of a field's values."""
    if name in ("parameters", "tokens"):
        return count
    if name == "seconds":
        return duration
    if name == "disk_bytes":
        return byte_count
    forms = {
        **{"loss": "{:.4f}", "bits_per_byte": "{:.4f}", "accuracy": "{:.1%}", "epochs": "{:.3g}"},
        **{"tokens_per_second": "{:,.0f}", "epoch_seconds": "{:,.1f}"},
    }
    if name == "step_seconds":
        return lambda value: f"{1e3 * value:,.1f}"
    if name == "perplexity":
        return lambda value: f"{value:.2f}" if value < 1000 else f"{value:,.0f}"
    return lambda value: forms.get(name, "{}").format(value)


def _group_name(group: Seeds) -> str:
    """Return the common part of the runs' names before their numbers (study-cell-s1, study-cell-s2), else the recipe's name."""
    stems = {NUMBER.sub("", name) for name in group.names}
    return stems.pop() if len(stems) == 1 else group.first.recipe_name or group.first.name


def _seeds(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _status(row: ListedRun) -> str:
    if row.status not in ("running", "stopped") or not row.steps:
        return row.status
    return f"{row.status} {min(1.0, row.step / row.steps):.0%}"


def _corpus(corpus: str | None) -> str:
    """Return a catalogue name, or the last part of a path."""
    return "?" if not corpus else short(PurePath(corpus).name or corpus, LONGEST_CORPUS)


def _known(value: Any, written: Callable[[Any], str]) -> str:
    return "?" if value is None else written(value)
