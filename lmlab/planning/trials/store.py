"""Measurements of this machine, stored in the cache by everything that they depend on.

A figure that was measured on a busy machine is used as long as the machine is busy; the first run that finds it idle measures
again. So not every start measures, and no disturbed figure is kept for long.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lmlab import LabError, __version__
from lmlab.files import cache_folder, read_json, write_shared
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.load import is_busy
from lmlab.hardware.machine import accelerator_at
from lmlab.native.processor import processor_identity
from lmlab.recipe import Recipe
from lmlab.recipe.optim import Muon
from lmlab.training.policy import Policy

FORMAT = 1


def measured(
    what: str,
    policy: Policy,
    facts: Mapping[str, Any],
    names: Sequence[str],
    measure: Callable[[], Mapping[str, float]],
) -> dict[str, float]:
    """Return the figures of these names: stored ones, or those that `measure` returns now, which are stored.

    `policy` and `facts` as for `place_of`. LabError where the cache can't be written.
    """
    busy = is_busy()
    path = place_of(what, policy, facts)
    known = _known(path, names, busy)
    if known is None:
        known = dict(measure())
        write_shared(path, {"format": FORMAT, "busy": busy, "figures": known})
    return known


def place_of(what: str, policy: Policy, facts: Mapping[str, Any]) -> Path:
    """Return the cache file of figures that depend on `facts`, the processor, the GPU with its driver, the versions of PyTorch and
    lmlab, and the policy: device, precision, compilation, engine and its build, threads and ranks.

    The micro-batch is one of the `facts`, where a figure depends on it.
    """
    machine: dict[str, Any] = {
        "processor": processor_identity(),
        "cores": physical_cores(),
        "torch": torch.__version__,
    }
    accelerator = accelerator_at(policy.torch_device)
    if accelerator is not None:
        machine["accelerator"] = dataclasses.asdict(accelerator)
    how = {name: value for name, value in policy.exactness().items() if name != "micro_batch"}
    text = json.dumps([machine, __version__, how, facts], sort_keys=True)
    return cache_folder() / "measured" / f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _known(path: Path, names: Sequence[str], busy: bool) -> dict[str, float] | None:
    """Return the figures in the file; None where one is missing, they were disturbed and the machine is now idle, or it is
    invalid."""
    try:
        value = read_json(path)
        figures = {name: float(value["figures"][name]) for name in names}
        spoilt = value["busy"] and not busy
    except (LabError, KeyError, TypeError, ValueError):
        return None
    return None if spoilt or value.get("format") != FORMAT else figures


def facts_of_steps(recipe: Recipe, vocabulary: int) -> dict[str, Any]:
    """Return everything in a recipe that affects the duration of a step, except its batch and micro-batch."""
    cut: dict[str, Any] = {}
    if recipe.data.windows != "stream":
        cut["windows"] = [recipe.data.windows, recipe.data.stride]
    if recipe.data.conversations:
        cut["template"] = recipe.data.template  # batches are as long as their longest one
    optim = recipe.optim
    # Muon's share of a step grows with its iterations; otherwise only the kind of optimizer matters.
    work = [optim.kind, optim.iterations] if isinstance(optim, Muon) else [optim.kind]
    return {**cut, "model": dataclasses.asdict(recipe.model), "optim": work, "vocabulary": vocabulary}


def facts_of(recipe: Recipe, vocabulary: int, data_folder: str | Path) -> dict[str, Any]:
    """Return everything in a recipe that affects the duration and memory of its parts, except its batch and micro-batch."""
    return {
        **facts_of_steps(recipe, vocabulary),
        "order": recipe.data.order,
        "background": recipe.train.background,
        "prompts": [len(recipe.evaluate.prompts), recipe.evaluate.sample_tokens],
        # The folder's name is the data set's id: the pages of its files that a run reads count as memory too.
        "data": Path(data_folder).name,
    }
