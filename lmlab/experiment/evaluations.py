"""The evaluations of a run as rows of plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lmlab.experiment.record import LARGEST_EXPONENT, Record

KIND = "evaluations"
FORMAT = 1


def evaluations_json(named: Sequence[tuple[str, Record]]) -> dict[str, Any]:
    """Return the rows of runs by their displayed names, as `lmlab report --to json` prints them."""
    runs = [{"run": name, "id": record.id, "evaluations": evaluation_rows(record)} for name, record in named]
    return {"format": FORMAT, "kind": KIND, "runs": runs}


def evaluation_rows(record: Record) -> list[dict[str, Any]]:
    """Return a row for each evaluation, in order; then, where those scored a sample, the best and the last model over the whole
    split.

    Losses are nats a token and `seconds` those of training steps; None is unknown. `best` marks the lowest validation loss: among
    the rows of the whole split where there are any.
    """
    batches = {
        int(line["step"]): line.get("loss") for line in record.run.read_lines("metrics") if line["kind"] == "train"
    }
    rows = [
        {
            "step": None if record.steps_are_epochs else entry.step,
            "tokens": entry.tokens,
            "epochs": _epochs(record, entry.tokens, entry.step),
            # A log without a training loss has the loss of its batches.
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


def _whole(record: Record, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scores over the whole split in the summary, each at its step."""
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
