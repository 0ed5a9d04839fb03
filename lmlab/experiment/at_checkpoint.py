"""A run at one of its checkpoints: RUN@best, RUN@latest, RUN@init and RUN@STEP, for comparing and explaining.

Its final figures are those of that model over the whole validation split: from the evaluation at that step where it scored the
whole split, which needs no checkpoint, else scored now.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.judging import checkpoint_in
from lmlab.experiment.reading import read_record
from lmlab.experiment.record import EvaluationPoint, Record
from lmlab.runs import Run
from lmlab.runs.units import unit_type

SPLIT = "valid"


def record_at(run: Run, which: str, device: str = "auto", progress: Progress | None = None) -> Record:
    """Return the record of `run` up to the checkpoint that `which` names (best, latest, init or a step); the whole record where
    that is the end of a finished run. LabError where there is no such checkpoint, or it can't be scored."""
    record = read_record(run)
    if record.imported is not None:
        raise LabError(f"{run.name} is someone else's log, without checkpoints: give it without @{which}")
    step = int(which) if which.isdigit() else checkpoint_in(run, which)[0].step
    if record.summary is not None and step == record.step:
        return record
    begins = record.began[0] if record.began is not None else 0
    if not begins <= step <= record.step:
        raise LabError(f"{run.name} has no step {step:,}: expected a step from {begins:,} to {record.step:,}")
    kept = tuple(entry for entry in record.evaluations if entry.step <= step)
    last = kept[-1] if kept and kept[-1].step == step else None
    figures, bits = _stored(run, last) or _scored_anew(run, step, device, progress)
    steps, tokens = zip(*((line["step"], line["tokens"]) for line in run.read_lines("metrics")), strict=True)
    places = [entry.step for entry in record.evaluations]
    seconds = float(np.interp(step, places, [entry.train_seconds or 0.0 for entry in record.evaluations]))
    return dataclasses.replace(
        record,
        checkpoint=step,
        summary={"finished": True, "steps": step, "final": figures, "seconds": {"train": seconds, "total": None}},
        evaluations=kept,
        step=step,
        tokens=round(float(np.interp(step, steps, tokens))),
        units=_units(run, kept, bits),
    )


def _stored(run: Run, entry: EvaluationPoint | None) -> tuple[Mapping[str, Any], np.ndarray] | None:
    """Return the figures and bits of an evaluation of the whole split; None where it isn't one, or its bits are gone."""
    if entry is None or not entry.whole:
        return None
    try:
        bits = run.units()["bits"]
    except LabError:
        return None
    if entry.number >= bits.shape[1] or np.isnan(bits[:, entry.number]).any():
        return None
    figures = {"loss": entry.valid_loss, "bits_per_byte": entry.bits_per_byte, "accuracy": entry.accuracy}
    return {"step": entry.step, **figures}, bits[:, entry.number]


def _scored_anew(run: Run, step: int, device: str, progress: Progress | None) -> tuple[Mapping[str, Any], np.ndarray]:
    from lmlab.experiment.finish import figures
    from lmlab.experiment.scoring import score

    scores = score(f"{run.folder}@{step}", split=SPLIT, device=device, progress=progress).evaluation
    return {"step": step, **figures(scores)}, scores.bits_per_unit


def _units(run: Run, evaluations: tuple[EvaluationPoint, ...], bits: np.ndarray) -> np.ndarray | None:
    """Return units-valid.npy with the columns up to these evaluations and then `bits`; None where it is unreadable or has other
    units."""
    try:
        stored = run.units()
    except LabError:
        return None
    columns = evaluations[-1].number + 1 if evaluations else 0
    if len(stored) != len(bits) or columns > stored["bits"].shape[1]:
        return None
    units = np.empty(len(stored), unit_type(columns + 1))
    for name in ("key", "bytes", "tokens"):
        units[name] = stored[name]
    units["bits"][:, :columns], units["bits"][:, columns] = stored["bits"][:, :columns], bits
    return units
