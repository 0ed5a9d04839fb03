"""The evaluations of runs as a table: as text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from lmlab.experiment.evaluations import evaluation_rows
from lmlab.experiment.record import Record
from lmlab.report.runs_table import form_of
from lmlab.training.table import Part, Styled, Table, table

FIELDS = (
    *("step", "tokens", "epochs", "train_loss", "valid_loss", "perplexity", "accuracy", "bits_per_byte", "seconds"),
    *("scored", "best"),
)
HEADINGS = {"train_loss": "training", "valid_loss": "validation", "bits_per_byte": "bits/byte", "seconds": "time"}
SCORED = {True: "whole split", False: "sample", None: ""}


def evaluation_parts(records: Sequence[Record], names: Sequence[str]) -> list[Part]:
    """Return a table for each run, as text."""
    parts: list[Part] = []
    for record, name in zip(records, names, strict=True):
        rows = evaluation_rows(record)
        if parts:
            parts.append("")
        number = len(record.evaluations)
        parts.append(Styled(f"{name}: {number} evaluation{'s' * (number != 1)}, losses in nats a token", "bold"))
        parts.append(_table(rows) if rows else "no evaluations yet")
    return parts


def evaluations_csv(records: Sequence[Record], names: Sequence[str]) -> str:
    """Return one table of all runs, with the run's name in the first column; empty cells are unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", *FIELDS])
    for record, name in zip(records, names, strict=True):
        for row in evaluation_rows(record):
            values = {**row, "scored": SCORED[row["scored"]], "best": int(row["best"])}
            writer.writerow([name, *("" if values[field] is None else values[field] for field in FIELDS)])
    return text.getvalue()


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    # A column without values is left out.
    fields = [field for field in FIELDS[:-2] if any(row[field] is not None for row in rows)]
    cells = [(*(_cell(row, field) for field in fields), _note(row)) for row in rows]
    return table([*(HEADINGS.get(field, field) for field in fields), ""], cells, words=("",))


def _note(row: dict[str, Any]) -> str:
    return ", ".join(word for word in (SCORED[row["scored"]], "best" if row["best"] else "") if word)


def _cell(row: dict[str, Any], field: str) -> str:
    value = row[field]
    if value is None:
        return "?"
    if field in ("train_loss", "valid_loss"):
        return f"{value:.4f}"
    return f"{value:,}" if field == "step" else form_of(field)(value)
