"""Runs with their scores on a text, and whether two of them were scored on the same one.

The units of a validation split are identified by the SHA-256 of their text, so that runs on other machines, with other data sets or
tokenizers, can be recognised as scored on the same documents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmlab import LabError
from lmlab.experiment.record import EvaluationPoint, Record
from lmlab.recipe import Recipe

Scale = Literal["nats a token", "bits per byte"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextScores:
    """The scores of one run's last model on one text."""

    run: str
    """Its id."""
    loss: float
    """Nats a token."""
    bits_per_byte: float | None
    units: np.ndarray | None
    """key V32, bytes i8, tokens i8 and bits f8[evaluations], of which the last are these scores; None where they aren't kept."""
    tokenizer: Any
    """The tokenizer's description; equal for equal tokens."""
    text: str
    """An identifier of the text: the data set's id, or what an imported log states; equal for the same text and tokens."""
    windows: tuple[int, int] | None = None
    """Context and stride of windows of documents, as of `windows_of`; None where every token was scored once."""
    seed: int | None = None
    parameters: int | None = None
    """All of the model's; None for a log that doesn't state them."""

    def on(self, scale: Scale) -> float:
        """Return the loss on that scale; NaN where there is none."""
        if scale == "nats a token":
            return self.loss
        return math.nan if self.bits_per_byte is None else self.bits_per_byte


def scores_of(record: Record) -> TextScores | None:
    """Return the final scores of a run, or those of its last evaluation; None before its first."""
    if record.loss is None:
        return None
    return TextScores(
        run=record.id,
        loss=record.loss,
        bits_per_byte=record.bits_per_byte,
        units=units_of(record),
        tokenizer=_tokenizer(record),
        text=_text(record),
        windows=windows_of(record.recipe),
        seed=record.seed,
        parameters=size_of(record),
    )


def size_of(record: Record) -> int | None:
    """Return the number of all parameters of the run's model; None for a log that doesn't state it."""
    return None if record.parameters is None else record.parameters["total"]


def windows_of(recipe: Recipe | None) -> tuple[int, int] | None:
    """Return context and stride of the windows of documents that are scored, a stride of 0 where each has one window alone, and of
    -1 where only responses count in it; None where they are read as one stream, or for a log without recipe."""
    if recipe is None or not recipe.data.by_document:
        return None
    if recipe.data.targets == "response":
        return recipe.model.context, -1
    if recipe.data.windows != "documents":
        return recipe.model.context, 0
    return recipe.model.context, recipe.data.stride or recipe.model.context


def units_of(record: Record) -> np.ndarray | None:
    """Return units-valid.npy, at the checkpoint at which the run is read; None where there is none that can be read."""
    if record.checkpoint is not None:
        return record.units
    try:
        units = record.run.units()
    except (LabError, OSError):
        return None
    return units if units["bits"].shape[1] else None


def common_scale(scores: Sequence[TextScores]) -> Scale | None:
    """Return the scale on which all of them can be compared: nats a token on the same tokens, bits per byte on the same text; else
    None.

    Windows of documents have other tokens than one stream, and than other windows: some count twice, some not at all.
    """
    first = scores[0]
    if any(entry.windows != first.windows for entry in scores):
        return None
    if all(entry.text == first.text for entry in scores):
        return "nats a token"
    units = [entry.units for entry in scores]
    if any(entry is None or not np.array_equal(entry["key"], units[0]["key"]) for entry in units):  # type: ignore[index]
        return None
    if all(entry.tokenizer is not None and entry.tokenizer == first.tokenizer for entry in scores):
        return "nats a token"
    return "bits per byte" if all(entry.bits_per_byte is not None for entry in scores) else None


def sizes(units: np.ndarray, scale: Scale) -> np.ndarray:
    """Return what each unit's bits are divided by: its tokens, scaled to give nats, or its bytes."""
    return units["tokens"] / math.log(2.0) if scale == "nats a token" else units["bytes"].astype(np.float64)


def curve_losses(
    records: Sequence[Record], scores: Sequence[TextScores], scale: Scale
) -> tuple[list[list[float]], str]:
    """Return the loss at each evaluation of each run, and what it is computed over, in words.

    Losses are over the units that every one of these evaluations scored, so that they are comparable; where these are unknown, they
    are each run's own figures.
    """
    plain = [[_plain(entry, scale) for entry in record.evaluations] for record in records]
    whole = all(entry.whole for record in records for entry in record.evaluations)
    kept = [_bits(record, score) for record, score in zip(records, scores, strict=True)]
    bits = [found for found in kept if found is not None]
    if whole or len(bits) < len(records) or len({len(found) for found in bits}) > 1:
        return plain, "the whole validation split" if whole else "each run's own sample of the validation split"
    together = ~np.any([np.isnan(found).any(axis=1) for found in bits], axis=0)
    if not together.any():
        return plain, "each run's own sample of the validation split, which have no unit in common"
    losses = []
    for score, found in zip(scores, bits, strict=True):
        assert score.units is not None
        losses.append((found[together].sum(axis=0) / sizes(score.units, scale)[together].sum()).tolist())
    return losses, f"the {int(together.sum()):,} of {len(together):,} units that all of them scored each time"


def _plain(evaluation: EvaluationPoint, scale: Scale) -> float:
    if scale == "nats a token":
        return evaluation.valid_loss
    return math.nan if evaluation.bits_per_byte is None else evaluation.bits_per_byte


def _bits(record: Record, scores: TextScores) -> np.ndarray | None:
    """Return [units, evaluations] for the evaluations of the record; None where a column is missing."""
    numbers = [entry.number for entry in record.evaluations]
    if scores.units is None or not numbers or numbers[-1] >= scores.units["bits"].shape[1]:
        return None
    found: np.ndarray = scores.units["bits"][:, numbers]
    return found


def _text(record: Record) -> str:
    corpus = (record.origin.get("imported") or {}).get("corpus")
    return str(record.origin.get("data_id") or (corpus and f"imported {corpus}") or record.id)


def _tokenizer(record: Record) -> Any:
    try:
        return record.run.read("tokenizer.json")
    except LabError:
        return None
