"""The verdict on whether a run overfits or ended too early, from its lines of evaluations and the bits of its units."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.runs import Run
from lmlab.stats import Evaluated, Gap, PairedDifference, UnitBits, overfitting_verdict, still_falling


def verdict_on(
    run: Run,
    unique_tokens: float | None = None,
    final_gap: Gap | None = None,
    final_rise: PairedDifference | None = None,
    until: int | None = None,
) -> dict[str, Any]:
    """Return the verdict for summary.json.

    `unique_tokens` is the number of tokens in a pass over the training text (default: from origin.json, for a text that is read as
    one stream), `final_gap` the gap of the last model and `final_rise` its loss minus the best model's, where they were measured
    after the training. Runs from before gaps and units were stored, and imported ones, are judged by their lines alone.
    """
    lines = [line for line in run.read_lines("metrics") if line.get("kind") == "evaluation"]
    kept = [
        place
        for place, line in enumerate(lines)
        if is_evaluation(line) and (until is None or int(line["step"]) <= until)
    ]
    evaluations = [_evaluated(lines[place], _read_tokens(run, unique_tokens)) for place in kept]
    if lines and run.origin().get("parent") is not None and not lines[0].get("tokens"):
        # The tokens that its parent read of this text aren't in its own count.
        evaluations = [Evaluated(step=one.step, valid=one.valid, train=one.train, gap=one.gap) for one in evaluations]
    verdict = overfitting_verdict(evaluations, _units(run, kept), final_gap, final_rise)
    falling = still_falling([one.step for one in evaluations], [one.valid for one in evaluations])
    decided = verdict.kind in ("overfitting", "unstable") or not falling
    reason = verdict.reason + ("" if decided else "; the loss was still falling, so more steps should lower it")
    return {**verdict.to_json(), "still_falling": falling, "reason": reason}


def is_evaluation(line: Mapping[str, Any]) -> bool:
    """Return whether a line of metrics.jsonl has the validation loss of an evaluation, as a number."""
    train = line.get("train_loss")
    fits = _number(line.get("valid_loss")) and (train is None or _number(train))
    return line.get("kind") == "evaluation" and "step" in line and fits


def gap_from(values: Mapping[str, Any]) -> Gap | None:
    """Return the gap in a line or in a summary's figures; None without one."""
    ends = values.get("gap_interval")
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    numbers = [float(value) for value in (values.get("gap"), *ends) if _number(value)]
    return Gap(value=numbers[0], low=numbers[1], high=numbers[2]) if len(numbers) == 3 else None


def _evaluated(line: Mapping[str, Any], unique: float | None) -> Evaluated:
    tokens = line.get("tokens")
    return Evaluated(
        step=int(line["step"]),
        valid=float(line["valid_loss"]),
        train=line.get("train_loss"),
        gap=gap_from(line),
        passes=tokens / unique if unique and isinstance(tokens, int) else None,
    )


def _read_tokens(run: Run, unique: float | None) -> float | None:
    """Return the tokens of a pass; None where unknown, as for windows of documents whose data set isn't available."""
    if unique is not None or run.imported is not None:
        return unique
    with contextlib.suppress(LabError, KeyError, TypeError, IndexError, ValueError):
        if not run.recipe().data.by_document:
            return float(run.fact("data")[0]["train_tokens"])
    return None


def _units(run: Run, evaluations: Sequence[int]) -> UnitBits | None:
    """Return the columns of these evaluations; None where they can't be read, or some are missing."""
    try:
        units = run.units()
    except (LabError, OSError):
        return None
    if not evaluations or evaluations[-1] >= units["bits"].shape[1]:
        return None
    return UnitBits(bits=units["bits"][:, list(evaluations)], tokens=np.asarray(units["tokens"]))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
