"""Read curves and evaluations of a run from disk, whole or up to a checkpoint: RUN@best, @latest, @init, @STEP."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json

from lmlab import LabError
from lmlab.checkpoint.pointers import pointed
from lmlab.experiment.reading import read_record
from lmlab.experiment.record import Record
from lmlab.report.curves import CurveData, cut, read_curves
from lmlab.runs import Run


def curves_of(run: Run, which: str | None = None) -> CurveData:
    """Return the curves of `run`, up to the step that `which` names if any; LabError where the run has no such step."""
    run.require_trained()
    data = read_curves(
        run.name,
        run.read_lines("metrics"),
        events=run.read_lines("events"),
        summary=run.summary(),
        claims=() if run.imported else run.recipe().claims,
        source=run.imported["file"] if run.imported else "",
        tokenizer=_tokenizer(run),
        valid_text=_valid_text(run),
    )
    if which is None:
        return data
    return dataclasses.replace(cut(data, step_named(run, which)), name=f"{run.name}@{which}")


def record_of(run: Run, which: str | None = None) -> Record:
    """Return the record of `run` with the evaluations up to the step that `which` names."""
    record = read_record(run)
    if which is None:
        return record
    step = step_named(run, which)
    return dataclasses.replace(
        record,
        evaluations=tuple(entry for entry in record.evaluations if entry.step <= step),
        summary=record.summary if record.step <= step else None,
        step=min(step, record.step),
    )


def step_named(run: Run, which: str) -> int:
    """Return the step of `which` (best, latest, init or a step) in the run's lines; LabError where it has none."""
    lines = run.read_lines("metrics")
    steps = [int(line["step"]) for line in lines]
    if not steps:
        raise LabError(f"{run.name} has no lines of metrics yet, so it has no @{which}: wait for its first line")
    if which.isdecimal():
        if not min(steps) <= int(which) <= max(steps):
            raise LabError(f"{run.name} has no step {int(which):,}: expected one of {min(steps):,} to {max(steps):,}")
        return int(which)
    if which == "init":
        return min(steps)
    known = pointed(run.checkpoints, which) if run.imported is None else None
    if known is not None:
        return int(known["step"])
    if which == "latest":
        return max(steps)
    losses = {int(line["step"]): line["valid_loss"] for line in lines if line.get("valid_loss") is not None}
    if not losses:
        raise LabError(f"{run.name} has no evaluation, so it has no best: name a step, as in {run.name}@{max(steps)}")
    return min(losses, key=lambda step: losses[step])


def _tokenizer(run: Run) -> str:
    """Return a hash that is equal for runs with the same tokens; empty where unknown."""
    if run.imported is None:
        with contextlib.suppress(LabError):
            text = json.dumps(run.read("tokenizer.json"), sort_keys=True)
            return hashlib.sha256(text.encode()).hexdigest()
    return ""


def _valid_text(run: Run) -> str:
    """Return a hash that is equal for runs that were scored on the same units of text; empty where unknown."""
    if run.imported is None:
        with contextlib.suppress(LabError, OSError):
            return hashlib.sha256(run.units()["key"].tobytes()).hexdigest()
    return ""
