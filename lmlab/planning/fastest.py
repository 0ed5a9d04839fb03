"""Which engine and how many threads are the fastest for a recipe on this CPU: measured once, kept, used by every run.

The candidates take a few real steps each. What was found is kept in the cache under everything that it depends on
(processor, PyTorch, build of the native engine, model, optimizer, batch), so that only the first run of a kind on a
machine measures. A run keeps its own choice in policy.json, whatever is measured later.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from lmlab import LabError
from lmlab.files import cache_folder, make_folder, read_json, write_json
from lmlab.hardware import load_average, physical_cores
from lmlab.model import flops_per_token
from lmlab.native.processor import processor_identity
from lmlab.planning.probe import probe
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy, apply_policy

FORMAT = 1
TIMED_STEPS = 3
WORTH_CHANGING = 0.9
"""Another choice than the native engine on all cores must take less than this share of its time: what is measured is noisy."""
LONGEST_STEP_FLOPS = 2e11
"""Beyond about a second a step, measuring would cost more than a start should: then the native engine is taken, which was
the faster one at every size that was measured."""


def fastest_policy(recipe: Recipe, policy: Policy, tokens: np.ndarray, vocabulary: int) -> Policy:
    """`policy` with the engine and threads that took the least time a step here, where the recipe leaves them open.

    `tokens` is the training split. LabError where the cache can't be written.
    """
    candidates = _candidates(recipe, policy)
    flops = flops_per_token(recipe.model, vocabulary).training * recipe.train.batch * recipe.model.context
    if len(candidates) < 2 or flops > LONGEST_STEP_FLOPS:
        return policy
    path = cache_folder() / "fastest" / f"{_key(recipe, policy, vocabulary)}.json"
    seconds = _known(path, candidates)
    if seconds is None:
        busy = load_average() > physical_cores() / 2
        seconds = {_name(candidate): _step_seconds(recipe, candidate, tokens, vocabulary) for candidate in candidates}
        # Beside other work fewer threads look better than they are: that holds for this run only.
        if not busy:
            make_folder(path.parent)
            write_json(path, {"format": FORMAT, "seconds_a_step": seconds})
    chosen = min(candidates, key=lambda candidate: seconds[_name(candidate)])
    if seconds[_name(chosen)] > WORTH_CHANGING * seconds[_name(policy)]:
        chosen = policy
    found = ", ".join(
        f"{name} {1e3 * value:.3g} ms" for name, value in sorted(seconds.items(), key=lambda item: item[1])
    )
    what = (
        "the fastest here" if seconds[_name(chosen)] == min(seconds.values()) else "hardly slower than the fastest here"
    )
    return dataclasses.replace(chosen, reasons={**policy.reasons, "engine": f"{what}: {found} a step"})


def _candidates(recipe: Recipe, policy: Policy) -> list[Policy]:
    """What the recipe leaves open: engines where it says auto, fewer threads where it says none."""
    if policy.device != "cpu" or policy.compile:
        return [policy]
    engines = [policy.engine]
    if recipe.train.engine == "auto" and policy.engine == "native":
        engines.append("torch")
    threads = [policy.threads]
    if recipe.train.threads == 0 and physical_cores() > 1:
        # Half of the cores can be faster than all: a small batch hasn't work for many, and some cores are slow ones.
        threads.append(physical_cores() // 2)
    identities = {"native": policy.engine_identity, "torch": ""}
    pairs = [(policy.engine, count) for count in threads] + [(engine, policy.threads) for engine in engines[1:]]
    return [
        dataclasses.replace(policy, engine=engine, engine_identity=identities[engine], threads=count)
        for engine, count in pairs
    ]


def _name(policy: Policy) -> str:
    return f"{policy.engine} on {policy.threads} thread{'s' if policy.threads > 1 else ''}"


def _key(recipe: Recipe, policy: Policy, vocabulary: int) -> str:
    """A hash of all that decides which candidate is the fastest."""
    facts = {
        "processor": processor_identity(),
        "cores": physical_cores(),
        "torch": torch.__version__,
        "engine": policy.engine_identity,
        "model": dataclasses.asdict(recipe.model),
        "optim": recipe.optim.kind,
        "batch": recipe.train.batch,
        "micro_batch": policy.micro_batch,
        "vocabulary": vocabulary,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _known(path: Path, candidates: list[Policy]) -> dict[str, float] | None:
    """What was measured before for these candidates; None where it wasn't, or the file is none of ours."""
    try:
        value = read_json(path)
        seconds = {_name(candidate): float(value["seconds_a_step"][_name(candidate)]) for candidate in candidates}
    except (LabError, KeyError, TypeError, ValueError):
        return None
    return seconds if value.get("format") == FORMAT else None


def _step_seconds(recipe: Recipe, policy: Policy, tokens: np.ndarray, vocabulary: int) -> float:
    """The least time of a few steps, the first left out: what other programs take away doesn't count."""
    apply_policy(policy)
    times, _ = probe(recipe, policy, tokens, vocabulary, recipe.train.steps, lambda taken: len(taken) > TIMED_STEPS)
    return min(times[1:])
