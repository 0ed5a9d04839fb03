"""The loss without text that the model has seen in training, by the data set's check (`lmlab data check`).

The check marks units (documents or blocks) of an evaluated split that are exact or near duplicates of training text, or
consist mostly of long spans of it. Their bits are left out; nothing is scored again, so the remaining tokens were
predicted with the same context as before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lmlab.data.all_splits import ALL
from lmlab.data.dataset import Dataset
from lmlab.data.hygiene.check import checked, duplicate_units, is_quick, kept
from lmlab.data.progress import Progress
from lmlab.evaluation.result import Evaluation


def without_duplicates(
    scores: Evaluation, dataset: Dataset, trained_on: str | None, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the figures of a whole split's evaluation without its duplicates of training text; `trained_on` is the id of the
    run's data; None for an imported model.

    A data set that was not checked yet is checked now where that takes seconds. Where nothing is known, the figures are
    None and `duplicates_note` has the reason.
    """
    note = _unknown(scores.split, dataset, trained_on)
    value = None if note else checked(dataset, progress)
    units = None if value is None else duplicate_units(value, dataset, scores.split)
    if value is None or units is None:
        return {**_figures(scores, None), "duplicates": None, "duplicates_note": note}
    loss, tokens = scores.loss_over(units)
    kinds = {kind: len(value["units"][scores.split][kind]) for kind in ("exact", "near", "contained")}
    found = {
        "units": int(units.sum()),
        "of_units": len(units),
        "unit": dataset.facts["splits"][scores.split]["unit"],
        **kinds,
        "tokens": tokens,
        "share_of_tokens": tokens / scores.tokens,
        "loss": loss,
    }
    return {**_figures(scores, ~units), "duplicates": found, "duplicates_note": ""}


def duplicates_line(values: dict[str, Any]) -> str:
    """Return those figures as text; empty where there is nothing to report."""
    found = values["duplicates"]
    if found is None:
        note: str = values["duplicates_note"]
        return note
    what = f"{found['of_units']:,} {found['unit']}s"
    if not found["units"]:
        return f"none of the {what} is a duplicate of training text"
    kinds = ", ".join(f"{kind} {found[kind]:,}" for kind in ("exact", "near", "contained"))
    which = (
        f"the {found['units']:,} of {what} that are duplicates of training text ({kinds}; "
        f"{found['share_of_tokens']:.2%} of the tokens)"
    )
    if values["loss_without_duplicates"] is None:
        return f"nothing is left without {which}"
    low, high = values["loss_without_duplicates_interval"]
    interval = "" if low is None else f" (95% {low:.4f} to {high:.4f})"
    return (
        f"without {which}: loss {values['loss_without_duplicates']:.4f} nats a token{interval}, "
        f"{values['tokens_without_duplicates']:,} tokens; on these alone {found['loss']:.4f}"
    )


def _unknown(split: str, dataset: Dataset, trained_on: str | None) -> str:
    """Return why the duplicates are unknown; empty where they are known."""
    if trained_on is None:
        return "duplicates of training text are unknown for an imported model"
    if split == "train":
        return "the training split is not compared with itself: lmlab data check finds duplicates within it"
    if split == ALL:
        return "duplicates of training text are looked for in a validation or test split alone: --split valid"
    if dataset.id != trained_on:
        return "in another text than the run's own, near duplicates of training text are not looked for"
    if kept(dataset) is None and not is_quick(dataset):
        return f"not yet compared with training text: lmlab data check {dataset.id}, then evaluate again"
    return ""


def _figures(scores: Evaluation, units: np.ndarray | None) -> dict[str, Any]:
    """Return the loss over these units (bool [units])."""
    loss, tokens = (math.nan, None) if units is None else scores.loss_over(units)
    if not tokens or units is None:
        return {
            "loss_without_duplicates": None,
            "loss_without_duplicates_interval": None,
            "tokens_without_duplicates": tokens,
        }
    interval = scores.interval(units=units)
    ends = [value if math.isfinite(value) else None for value in (interval.low, interval.high)]
    return {
        "loss_without_duplicates": loss,
        "loss_without_duplicates_interval": ends,
        "tokens_without_duplicates": tokens,
    }
