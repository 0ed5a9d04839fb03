"""The table of results for the terminal and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lmlab import printable
from lmlab.files import write_text
from lmlab.recipe.quantities import count
from lmlab.report.measure_names import IN_A_LINE, NAMES, UNKNOWN, measures_line, shown
from lmlab.study.results import ResultsRow, ResultsTable, TaskFigure, TextFigures
from lmlab.training.table import Column, Part, Styled, Table

UNRANKED = " ~"
LEGEND = (
    "own loss: nats a token of the run's own validation split and tokenizer; ~ not above chance and any constant choice"
)


def results_parts(found: ResultsTable) -> Iterator[Part]:
    """Yield the table and its notes."""
    headings, rows = _cells(found)
    columns = (Column(headings[0], wraps=True), *(Column(name, right=True) for name in headings[1:]))
    yield Table(columns=columns, rows=tuple(rows), blocks=True)
    yield Styled(LEGEND, "dim")
    if found.on:
        yield Styled(f"loss to accuracy: {found.split} of {found.on}, each model with its own tokenizer", "dim")
    for line in _real(found):
        yield Styled(line, "dim")
    for note in found.notes:
        yield Styled(f"note: {note}", "dim")


def write_markdown(found: ResultsTable, path: Path) -> None:
    """Write the table as Markdown; StorageError where the file can't be written."""
    headings, rows = _cells(found)
    lines = [headings, ("---", *("---:" for _ in headings[1:])), *rows]
    text = "\n".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
    write_text(path, f"{text}\n\n{LEGEND}.\n")


def _cells(found: ResultsTable) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the headings and a row of cells for each model."""
    on = ("loss", "perplexity", "bits per byte", "95%", "accuracy") if found.on else ()
    measures = [name for name in IN_A_LINE if name in found.measures]
    headings = ("model", "parameters", "tokens", "own loss", *on, *found.tasks, *(NAMES[name] for name in measures))
    rows = [
        (
            row.name,
            count(row.parameters),
            UNKNOWN if row.tokens is None else count(row.tokens),
            UNKNOWN if row.own is None or row.own["loss"] is None else f"{row.own['loss']:.4f}",
            *(_text(row.text) if found.on else ()),
            *(_task(row, task) for task in found.tasks),
            *(_measure(row, name) for name in measures),
        )
        for row in found.rows
    ]
    return headings, rows


def _real(found: ResultsTable) -> list[str]:
    """Return a line with the figures of real text for each different one that the models' texts were measured beside."""
    lines = [measures_line(row.measures["real"]) for row in found.rows if row.measures and row.measures["real"]]
    return [f"real text beside the models' own: {line}" for line in dict.fromkeys(lines)]


def _text(found: TextFigures | None) -> tuple[str, ...]:
    assert found is not None
    interval = UNKNOWN if found.interval is None else f"{found.interval[0]:.4f} to {found.interval[1]:.4f}"
    per_byte = UNKNOWN if found.bits_per_byte is None else f"{found.bits_per_byte:.4f}"
    return f"{found.loss:.4f}", f"{found.perplexity:.4g}", per_byte, interval, f"{found.accuracy:.1%}"


def _measure(row: ResultsRow, name: str) -> str:
    figures = {} if row.measures is None else row.measures["figures"]
    return shown(name, figures[name]) if name in figures else UNKNOWN


def _task(row: ResultsRow, task: str) -> str:
    found: TaskFigure | None = row.tasks.get(task)
    if found is None or math.isnan(found.accuracy):
        return UNKNOWN
    half = (found.high - found.low) / 2
    return f"{found.accuracy:.3f} ±{half:.3f}{'' if found.standing == 'above' else UNRANKED}"
