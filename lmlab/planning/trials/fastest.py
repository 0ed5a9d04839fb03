"""The fastest engine, device and number of threads for a recipe on this machine: measured once, stored, used by every run.

Each candidate runs a few real steps, with fewer sequences where a step is long. The result is stored (`store.py`), so that only
the first run of a kind on a machine measures; and where PyTorch was much slower with one model, it isn't tried with the next one of
about that size, which would add seconds to a start. A run keeps its own choice in policy.json, whatever is measured later.

With `train.device auto` a GPU is compared with the CPU: a small model's step is too short to utilise a GPU.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from lmlab.data.fresh import TrainingTokens
from lmlab.hardware.cpu import performance_cores, physical_cores
from lmlab.model.cost import activation_bytes, flops_per_token
from lmlab.planning.trials.child import measure
from lmlab.planning.trials.compilation import COMPILED_GAIN
from lmlab.planning.trials.probe import TIMED_STEPS, shortest_step
from lmlab.planning.trials.store import facts_of_steps, measured
from lmlab.recipe import Recipe
from lmlab.recipe.extensions import known_only_here
from lmlab.training.policy import Policy, choose_policy

MOST_BYTES_HERE = 64 << 20
"""Bytes of activations in PyTorch; above it a trial would raise the run's own peak of memory."""
FLOAT32_BYTES = 4
LONGEST_TRY_SECONDS = 30.0
NEVER = 1e9
"""Seconds per step of a candidate that failed."""
WORTH_CHANGING = 0.9
"""Another candidate is chosen only if its step takes less than this share of the default's time: timings are noisy."""
FAR_BEHIND = 1.5
"""Where PyTorch takes more than this many times as long as the native engine with one model, it isn't tried with others of its
size."""
SIZE_STEP = 4.0
"""Models are of one size where their FLOPs per token differ by less than about this factor."""
LONGEST_STEP_FLOPS = 2e11
"""About a second on two cores: longer steps are tried with fewer sequences. Where even one sequence takes longer, measuring would
take too long for a start, and the native engine is chosen, which was faster there on x86-64 (docs/performance.md)."""
TRIED_FLOPS = 5e10
"""FLOPs of the sequences with which a longer step is tried."""
LONGEST_STEP_FLOPS_ON_ARM = 4e12
"""The same on Arm: Apple's matrix units, which only PyTorch uses, compute this in a second or two."""
MOST_FLOPS_AGAINST_CUDA = 4e9
"""FLOPs of a step above which a CPU isn't compared with an NVIDIA GPU: about what many cores compute while it launches a step's
kernels."""
NOTICE = "timing steps of each engine and thread count for this model (once) ..."


def fastest_policy(
    recipe: Recipe,
    policy: Policy,
    tokens: TrainingTokens,
    vocabulary: int,
    data_folder: Path | None = None,
    say: Callable[[str], object] | None = None,
) -> Policy:
    """Return `policy` with the engine and threads that took the least time per step here, where the recipe leaves them open.

    `tokens` is the training split of the data set in `data_folder`; with it, PyTorch is tried in a child process, so that its
    memory footprint (at least 150 MB of code and threads) isn't added to a run on the other engine; and so is every candidate for a
    model that saves much for backward. `say` is called with a line where something is measured, which takes seconds. LabError where
    the cache can't be written.
    """
    sequence_flops = flops_per_token(recipe.model, vocabulary).training * recipe.model.context
    if policy.device.startswith("cuda") and recipe.train.batch * sequence_flops > MOST_FLOPS_AGAINST_CUDA:
        return policy
    candidates = _candidates(recipe, policy)
    longest = LONGEST_STEP_FLOPS_ON_ARM if platform.machine().lower() in ("arm64", "aarch64") else LONGEST_STEP_FLOPS
    if len(candidates) < 2 or sequence_flops > longest or known_only_here(recipe):
        return policy
    batch = recipe.train.batch
    if batch * sequence_flops > LONGEST_STEP_FLOPS:
        # At least one sequence for each thread.
        batch = min(batch, max(policy.threads, int(TRIED_FLOPS / sequence_flops)))
    tried = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, batch=batch, micro_batch=None))
    large = activation_bytes(recipe.model, vocabulary, policy.micro_batch, FLOAT32_BYTES) > MOST_BYTES_HERE

    @functools.cache
    def step_seconds(place: int) -> float:
        if say is not None and not step_seconds.cache_info().currsize:
            say(NOTICE)
        candidate = dataclasses.replace(candidates[place], micro_batch=min(candidates[place].micro_batch, batch))
        if candidate.compile:  # compiling for a comparison would take a minute
            eager = dataclasses.replace(candidate, compile=False)
            return shortest_step(tried, eager, tokens, vocabulary) / COMPILED_GAIN
        if data_folder is not None and (
            large or candidate.engine != policy.engine or candidate.device != policy.device
        ):
            return _step_seconds_apart(tried, candidate, data_folder)
        return shortest_step(tried, candidate, tokens, vocabulary)

    # Why the native engine isn't a candidate, where it could be.
    lacking = policy.device == "cpu" and policy.engine == "torch" and recipe.train.engine == "auto"
    lag, left_out = 0.0, policy.reasons["engine"] if lacking else ""
    if policy.device == "cpu" and candidates[-1].engine != policy.engine:
        size = round(math.log(sequence_flops / recipe.model.context, SIZE_STEP))
        lag = _lag(recipe, policy, size, lambda: (step_seconds(len(candidates) - 1), step_seconds(0)))
    if lag > FAR_BEHIND:
        candidates, left_out = candidates[:-1], f"PyTorch took {lag:.2g} times as long when it was tried"
    if len(candidates) < 2:
        return dataclasses.replace(policy, reasons={**policy.reasons, "engine": left_out})
    seconds = measured(
        "fastest",
        policy,
        facts_of_steps(recipe, vocabulary) | {"batch": [batch, policy.micro_batch]},
        [_name(candidate) for candidate in candidates],
        lambda: {_name(candidate): step_seconds(place) for place, candidate in enumerate(candidates)},
    )
    chosen = min(candidates, key=lambda candidate: seconds[_name(candidate)])
    if seconds[_name(chosen)] > WORTH_CHANGING * seconds[_name(policy)]:
        chosen = policy
    fewer = f" for steps of {batch} sequences" if batch < recipe.train.batch else ""
    found = f"{_ranking(seconds, chosen)}{fewer}{left_out and f'; {left_out}'}"
    return dataclasses.replace(chosen, reasons={**chosen.reasons, "engine": found})


def _ranking(seconds: Mapping[str, float], chosen: Policy) -> str:
    """Return the others' step times relative to the chosen one's, the fastest first.

    Without seconds: the forecast has those, for the whole batch and the current load.
    """
    own = seconds[_name(chosen)]
    others = sorted((value / own, name) for name, value in seconds.items() if name != _name(chosen))
    stands = "the fastest here" if all(ratio >= 1 for ratio, _ in others) else "within 10% of the fastest here"
    times = [f"{name} {'failed' if ratio * own >= NEVER else f'x{ratio:.2f}'}" for ratio, name in others]
    return f"{stands}; step times against it: {', '.join(times)}" if times else stands


def _lag(recipe: Recipe, policy: Policy, size: int, seconds: Callable[[], tuple[float, float]]) -> float:
    """Return PyTorch's step time divided by this engine's, measured once for each model kind and size; 0 where PyTorch failed.
    `seconds` measures both, PyTorch's first.
    """

    def lag() -> dict[str, float]:
        theirs, ours = seconds()
        return {"torch": theirs / ours if theirs < NEVER else 0.0}

    return measured("lag", policy, {"kind": recipe.model.kind, "size": size}, ["torch"], lag)["torch"]


def _candidates(recipe: Recipe, policy: Policy) -> list[Policy]:
    """Return the policies that the recipe leaves open: engines and devices for auto, fewer threads where none are set."""
    if policy.ranks > 1 or (policy.device == "cpu" and policy.compile):
        return [policy]
    if policy.device != "cpu" and recipe.train.device == "auto":
        on_cpu = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, device="cpu"))
        return [policy, choose_policy(on_cpu)]
    if policy.device != "cpu":
        return [policy]
    engines = [policy.engine]
    if recipe.train.engine == "auto" and policy.engine == "native":
        engines.append("torch")
    threads = [policy.threads]
    if recipe.train.threads == 0 and physical_cores() > 1:
        # Half of the cores can be faster than all, as a small batch has too little work for many; and so can the fastest kind of
        # core alone, since all wait for the slowest.
        fewer = {physical_cores() // 2, performance_cores()} - {policy.threads}
        threads += sorted(fewer, reverse=True)
    identities = {"torch": "", policy.engine: policy.engine_identity}
    pairs = [(policy.engine, count) for count in threads] + [(engine, policy.threads) for engine in engines[1:]]
    return [
        dataclasses.replace(policy, engine=engine, engine_identity=identities[engine], threads=count)
        for engine, count in pairs
    ]


def _name(policy: Policy) -> str:
    if policy.device != "cpu":
        return f"{policy.engine} on {policy.device}"
    return f"{policy.engine} on {policy.threads} thread{'s' if policy.threads > 1 else ''}"


def _step_seconds_apart(recipe: Recipe, policy: Policy, data_folder: Path) -> float:
    """Return the same from a child process; NEVER where it failed."""
    found = measure(
        recipe,
        policy,
        data_folder,
        micro_batch=policy.micro_batch,
        steps=TIMED_STEPS,
        seconds=LONGEST_TRY_SECONDS,
        whole=False,
    )
    return min(found.step_seconds, default=NEVER)
