"""Trials that were made before, kept for the runs to come, so that nothing is tried at every start.

A plan keeps what its child process found, a start what it found in its own process: there the peak of memory is the training's only
where the process has held little else before.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lmlab import LabError
from lmlab.data import Dataset
from lmlab.files import read_json, write_shared
from lmlab.hardware import load_average, physical_cores
from lmlab.planning.child import Measurement
from lmlab.planning.measured import BUSY, place_of
from lmlab.planning.probed import facts_of
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy

FORMAT = 1
MOST_IDLE_BYTES = 1 << 30
"""Of main memory before a trial: a process that has held more has held other things than what a training begins with."""


def kept_trial(recipe: Recipe, policy: Policy, dataset: Dataset) -> Measurement | None:
    """The whole trial of this training that was made on this machine; None where there is none, or a busy hour spoilt it."""
    try:
        value = read_json(_place(recipe, policy, dataset))
        found = {name: float(value["figures"][name]) for name in _numbers()}
        times = tuple(float(one) for one in value["figures"]["step_seconds"])
        spoilt = bool(value["busy"]) and not _busy()
    except (LabError, KeyError, TypeError, ValueError):
        return None
    if spoilt or value.get("format") != FORMAT or not times:
        return None
    whole = {name: int(found[name]) if name.endswith("bytes") else found[name] for name in found}
    return Measurement(
        micro_batch=policy.micro_batch,
        batch=recipe.train.batch,
        step_seconds=times,
        extended=bool(value["figures"].get("extended")),
        kept=True,
        **whole,  # type: ignore[arg-type]
    )


def keep_trial(trial: Measurement, recipe: Recipe, policy: Policy, dataset: Dataset) -> None:
    """Keep a trial of this training, unless its process tells little of others; LabError where the cache can't be written."""
    if trial.earlier_peak_bytes > MOST_IDLE_BYTES or trial.peak_memory_bytes <= trial.earlier_peak_bytes:
        return
    path = _place(recipe, policy, dataset)
    write_shared(path, {"format": FORMAT, "busy": _busy(), "figures": trial.to_json()})


def _busy() -> bool:
    return load_average() > BUSY * physical_cores()


def _place(recipe: Recipe, policy: Policy, dataset: Dataset) -> Path:
    facts = facts_of(recipe, dataset.vocabulary_size, dataset.folder)
    length = [recipe.train.steps, recipe.train.epochs]
    sizes = {"batch": [recipe.train.batch, policy.micro_batch], "length": length}
    return place_of("trial", policy, facts | sizes)


def _numbers() -> list[str]:
    given = ("micro_batch", "batch", "step_seconds", "extended", "kept", "failed")
    return [entry.name for entry in dataclasses.fields(Measurement) if entry.name not in given]
