"""The evaluations of runs as a table: as text, as CSV and as plain values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from lmlab.experiment.record import LARGEST_EXPONENT, Record
from lmlab.report.runs_table import form_of
from lmlab.training.table import Part, Styled, Table, table

FIELDS = (
    *("step", "tokens", "epochs", "train_loss", "valid_loss", "perplexity", "accuracy", "bits_per_byte", "seconds"),
    *("scored", "best"),
)
HEADINGS = {"train_loss": "training", "valid_loss": "validation", "bits_per_byte": "bits/byte", "seconds": "time"}
SCORED = {True: "whole split", False: "sample", None: ""}


def evaluation_rows(record: Record) -> list[dict[str, Any]]:
    """A row an evaluation, in order; then, where those scored a sample, the best and the last model over the whole split.

    Losses are nats a token and `seconds` those of training steps; None is unknown. `best` marks the lowest validation loss: of the
    rows of the whole split where there are any.
    """
    batches = {
        int(line["step"]): line.get("loss") for line in record.run.read_lines("metrics") if line["kind"] == "train"
    }
    rows = [
        {
            "step": None if record.steps_are_epochs else entry.step,
            "tokens": entry.tokens,
            "epochs": _epochs(record, entry.tokens, entry.step),
            # A log that scores no training text has the loss of its batches.
            "train_loss": entry.train_loss if entry.train_loss is not None else batches.get(entry.step),
            **_scores(entry.valid_loss, entry.accuracy, entry.bits_per_byte),
            "seconds": entry.train_seconds,
            "scored": entry.whole,
        }
        for entry in record.evaluations
    ]
    if any(row["scored"] is False for row in rows):
        rows += _whole(record, rows)
    whole = [row for row in rows if row["scored"] is True]
    best = min(whole or rows, key=lambda row: row["valid_loss"], default=None)
    return [{**row, "best": row is best} for row in rows]


def evaluation_parts(records: Sequence[Record], names: Sequence[str]) -> list[Part]:
    """A table a run, for people."""
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
    """One table of all runs, with the run's name in the first column; empty cells are unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", *FIELDS])
    for record, name in zip(records, names, strict=True):
        for row in evaluation_rows(record):
            values = {**row, "scored": SCORED[row["scored"]], "best": int(row["best"])}
            writer.writerow([name, *("" if values[field] is None else values[field] for field in FIELDS)])
    return text.getvalue()


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    # A column that no row fills says nothing.
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


def _whole(record: Record, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The scores over the whole split that the summary has, each at its step."""
    found: dict[int, dict[str, Any]] = {}
    for key in ("best", "final"):
        scores = (record.summary or {}).get(key)
        if isinstance(scores, dict) and isinstance(scores.get("step"), int) and scores.get("loss") is not None:
            there = next((row for row in rows if row["step"] == scores["step"]), {})
            found[scores["step"]] = {
                "step": scores["step"],
                "tokens": there.get("tokens"),
                "epochs": there.get("epochs"),
                "train_loss": there.get("train_loss"),
                **_scores(float(scores["loss"]), scores.get("accuracy"), scores.get("bits_per_byte")),
                "seconds": there.get("seconds"),
                "scored": True,
            }
    return [found[step] for step in sorted(found)]


def _scores(loss: float, accuracy: float | None, bits: float | None) -> dict[str, Any]:
    perplexity = math.exp(loss) if loss <= LARGEST_EXPONENT else None
    return {"valid_loss": loss, "perplexity": perplexity, "accuracy": accuracy, "bits_per_byte": bits}


def _epochs(record: Record, tokens: int | None, step: int) -> float | None:
    if record.steps_are_epochs:
        return float(step)
    return None if tokens is None or not record.epoch_tokens else tokens / record.epoch_tokens
