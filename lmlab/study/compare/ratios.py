"""Runs side by side: size, steps, tokens, arithmetic, time and loss, each with its ratio to the first run's.

Steps, tokens, arithmetic and time of a run that continues another are its own; rows named "lineage included" add its lineage's.
Times of steps and epochs are those of training alone. Tokens are those processed: counting the text instead would make a short
training on a long text look nearer to the compute-optimal 20 tokens a parameter than it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmlab.experiment.record import Record
from lmlab.scaling.arithmetic import share_of_compute_optimal, tokens_a_parameter

Unit = Literal[
    "count", "flops", "seconds", "milliseconds", "rate", "share", "ratio", "loss", "perplexity", "accuracy", "gap"
]


@dataclass(frozen=True, kw_only=True)
class RatioRow:
    """One quantity of all runs."""

    name: str
    unit: Unit
    values: tuple[float | None, ...]
    comparable: bool = True
    """False for losses on different texts, which must not be divided."""

    def ratio(self, index: int) -> float | None:
        """Return the value divided by the first run's; None where one of them is missing, or a ratio is meaningless."""
        first, value = self.values[0], self.values[index]
        if first is None or value is None or first <= 0 or self.unit == "gap" or not self.comparable:
            return None
        return value / first

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        ratios = [self.ratio(index) for index in range(len(self.values))]
        return {"name": self.name, "unit": self.unit, "values": list(self.values), "ratios": ratios} | (
            {} if self.comparable else {"comparable": False}
        )


def ratio_table(records: Sequence[Record], same_tokens: bool, same_text: bool) -> tuple[RatioRow, ...]:
    """Return the rows. `same_tokens`: losses in nats a token can be compared; `same_text`: bits per byte can."""
    parts = [record.parameters or {} for record in records]
    dense = [known["total"] - known.get("ngrams", 0) if known else None for known in parts]
    own = [record.own_tokens for record in records]
    tokens = [_with_lineage(record.own_tokens, record.lineage, 1) for record in records]
    branched = any(record.lineage != (0, 0) for record in records)

    def row(name: str, unit: Unit, values: Sequence[float | None], comparable: bool = True) -> RatioRow:
        return RatioRow(name=name, unit=unit, values=tuple(values), comparable=comparable)

    def lineage(name: str, unit: Unit, values: Sequence[float | None]) -> list[RatioRow]:
        return [row(f"{name}, lineage included", unit, values)] if branched else []

    tables = [known.get("ngrams") for known in parts]
    shapes = list(zip(dense, tokens, strict=True))
    rows = [
        row("parameters", "count", dense),
        *([row("parameters in n-gram tables", "count", tables)] if any(tables) else []),
        row("tokens of training text", "count", [record.training_tokens for record in records]),
        row("steps", "count", [record.own_steps for record in records]),
        *lineage("steps", "count", [_with_lineage(record.own_steps, record.lineage, 0) for record in records]),
        row("tokens processed", "count", own),
        *lineage("tokens processed", "count", tokens),
        row("epochs (passes over the text)", "ratio", [record.own_epochs for record in records]),
        row(
            f"tokens a parameter{', lineage included' if branched else ''}",
            "ratio",
            [tokens_a_parameter(p, n) if p and n else None for p, n in shapes],
        ),
        row(
            "as a share of 20, the usual optimum",
            "share",
            [share_of_compute_optimal(p, n) if p and n else None for p, n in shapes],
        ),
        row("training FLOPs", "flops", [_flops(record, n) for record, n in zip(records, own, strict=True)]),
        *lineage("training FLOPs", "flops", [_flops(record, n) for record, n in zip(records, tokens, strict=True)]),
        row("training time", "seconds", [record.train_seconds for record in records]),
        row("time in all, with evaluations and saving", "seconds", [record.total_seconds for record in records]),
        row("milliseconds a training step", "milliseconds", [_milliseconds(record) for record in records]),
        row("training seconds an epoch", "seconds", [record.epoch_seconds for record in records]),
        row("tokens a second", "rate", [record.tokens_per_second for record in records]),
        row("validation loss, nats a token", "loss", [record.loss for record in records], same_tokens),
        row("best on the way", "loss", [_best(record) for record in records], same_tokens),
        row("perplexity", "perplexity", [record.perplexity for record in records], same_tokens),
        row("accuracy", "accuracy", [record.accuracy for record in records], same_tokens),
        row("bits per byte", "loss", [record.bits_per_byte for record in records], same_text),
        row("validation minus training loss", "gap", [_gap(record) for record in records]),
    ]
    return tuple(entry for entry in rows if any(value is not None for value in entry.values))


def _with_lineage(own: int | None, lineage: tuple[int, int] | None, which: int) -> int | None:
    return None if own is None or lineage is None else own + lineage[which]


def _flops(record: Record, tokens: int | None) -> float | None:
    """Return the training FLOPs of so many tokens for the run's own model."""
    if record.training_flops is None or not record.tokens or tokens is None:
        return None
    return record.training_flops * tokens / record.tokens


def _milliseconds(record: Record) -> float | None:
    return None if record.step_seconds is None else 1000 * record.step_seconds


def _best(record: Record) -> float | None:
    """Return the best model's loss over the whole split where it was scored, else that of the best evaluation."""
    best = (record.summary or {}).get("best")
    if isinstance(best, dict) and isinstance(best.get("loss"), float):
        return float(best["loss"])
    return min((entry.valid_loss for entry in record.evaluations), default=None)


def _gap(record: Record) -> float | None:
    """Return the last model's gap over equal samples of both splits, as in the verdict; else that of the last evaluation."""
    gap = None if record.checkpoint is not None else ((record.summary or {}).get("final") or {}).get("gap")
    if isinstance(gap, float) and math.isfinite(gap):
        return gap
    last = record.evaluations[-1] if record.evaluations else None
    return None if last is None or last.train_loss is None else last.valid_loss - last.train_loss
