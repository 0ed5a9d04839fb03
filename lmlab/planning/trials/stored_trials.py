"""Stored trials, so that not every start runs one.

A plan stores the trial of its child process, a start that of its own process, whose peak of memory is the training's only where the
process has held little else before.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.files import read_json, write_shared
from lmlab.hardware.load import expected_share
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.store import facts_of, place_of
from lmlab.recipe import Recipe
from lmlab.training.load import CHANGED, QUIET, slowed
from lmlab.training.policy import Policy

FORMAT = 2
"""2: peaks of memory are those of the whole run (`heap.py`)."""
MOST_IDLE_BYTES = 1 << 30
"""Limit of main memory before a trial: a process that held more has held other things than what a training begins with."""


def kept_trial(recipe: Recipe, policy: Policy, dataset: Dataset) -> Measurement | None:
    """Return the stored whole trial of this training on this machine, with times adjusted to the current load.

    None where there is none, or where the machine was busy then and is less busy now.
    """
    try:
        value = read_json(_place(recipe, policy, dataset))
        found = {name: float(value["figures"][name]) for name in _numbers()}
        times = tuple(float(one) for one in value["figures"]["step_seconds"])
    except (LabError, KeyError, TypeError, ValueError):
        return None
    if value.get("format") != FORMAT or not times:
        return None
    then, now = found["processor_share"], 1.0
    if policy.device == "cpu":
        now = expected_share(policy.threads)
        if then < QUIET and now > then + CHANGED:
            return None
        for name in found:
            found[name] = slowed(found[name], then, now) if name.endswith("_seconds") else found[name]
        found["forward_tokens_per_second"] /= slowed(1.0, then, now)
        found["processor_share"] = now if abs(now - then) >= CHANGED else then
    whole = {name: int(found[name]) if name.endswith("bytes") else found[name] for name in found}
    return Measurement(
        micro_batch=policy.micro_batch,
        batch=recipe.train.batch,
        step_seconds=tuple(slowed(one, then, now) for one in times),
        extended=bool(value["figures"].get("extended")),
        kept=True,
        **whole,  # type: ignore[arg-type]
    )


def keep_trial(trial: Measurement, recipe: Recipe, policy: Policy, dataset: Dataset) -> None:
    """Store a trial of this training, unless its memory isn't representative; LabError where the cache can't be written."""
    if (
        trial.counted
        or trial.earlier_peak_bytes > MOST_IDLE_BYTES
        or trial.peak_memory_bytes <= trial.earlier_peak_bytes
    ):
        return
    path = _place(recipe, policy, dataset)
    write_shared(path, {"format": FORMAT, "figures": trial.to_json()})


def _place(recipe: Recipe, policy: Policy, dataset: Dataset) -> Path:
    facts = facts_of(recipe, dataset.vocabulary_size, dataset.folder)
    length = [recipe.train.steps, recipe.train.epochs]
    sizes = {"batch": [recipe.train.batch, policy.micro_batch], "length": length}
    return place_of("trial", policy, facts | sizes)


def _numbers() -> list[str]:
    given = ("micro_batch", "batch", "step_seconds", "extended", "counted", "kept", "failed")
    return [entry.name for entry in dataclasses.fields(Measurement) if entry.name not in given]
