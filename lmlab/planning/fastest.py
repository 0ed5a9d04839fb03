"""Which engine, device and how many threads are the fastest for a recipe on this machine: measured once, kept, used by every run.

The candidates take a few real steps each, of fewer sequences where a step is long. What was found is kept (`measured.py`), so that
only the first run of a kind on a machine measures; and where PyTorch was far behind with one model, it isn't tried with the next
one of about that size, which would cost a start seconds. A run keeps its own choice in policy.json, whatever is measured later.

On a Mac the GPU (MPS) is held against the CPU: a small model's step is too short to keep a GPU busy.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from lmlab.data.fresh import TrainingTokens
from lmlab.hardware import performance_cores, physical_cores
from lmlab.model import flops_per_token
from lmlab.model.memory import activation_bytes
from lmlab.planning.child import measure
from lmlab.planning.measured import measured
from lmlab.planning.probe import probe
from lmlab.planning.probed import facts_of_steps
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy, choose_policy

TIMED_STEPS = 3
MOST_BYTES_HERE = 64 << 20
"""Of activations in PyTorch: beyond that a try is noticed in the memory of the run."""
FLOAT32_BYTES = 4
LONGEST_TRY_SECONDS = 30.0
NEVER = 1e9
"""Seconds a step of a candidate that failed."""
WORTH_CHANGING = 0.9
"""Another choice than the native engine on all cores must take less than this share of its time: what is measured is noisy."""
FAR_BEHIND = 1.5
"""Where PyTorch takes more than so many times as long as the native engine with one model, it does with others of its size."""
SIZE_STEP = 4.0
"""Models whose arithmetic a token differs by less than about so many times are of one size."""
LONGEST_STEP_FLOPS = 2e11
"""About a second of two cores: longer steps are tried with fewer sequences. Where even one takes longer, measuring would cost more
than a start should, and the native engine is taken, which was measured to be faster there on x86-64 (docs/performance.md)."""
TRIED_FLOPS = 5e10
"""Of the sequences that a longer step is tried with."""
LONGEST_STEP_FLOPS_ON_ARM = 4e12
"""Apple's matrix units, which only PyTorch uses, do as much in a second or two."""
NOTICE = "timing steps of each engine and thread count for this model (once) ..."


def fastest_policy(
    recipe: Recipe,
    policy: Policy,
    tokens: TrainingTokens,
    vocabulary: int,
    data_folder: Path | None = None,
    say: Callable[[str], object] | None = None,
) -> Policy:
    """`policy` with the engine and threads that took the least time a step here, where the recipe leaves them open.

    `tokens` is the training split of the data set in `data_folder`; with it, PyTorch is tried in a child process, so that its
    appetite (150 MB of code and threads at the least) doesn't become the memory of a run that the other engine computes; and so
    is every candidate for a model that keeps much for its backward pass. `say` gets a line where something is measured, which
    takes seconds. LabError where the cache can't be written.
    """
    candidates = _candidates(recipe, policy)
    sequence_flops = flops_per_token(recipe.model, vocabulary).training * recipe.model.context
    longest = LONGEST_STEP_FLOPS_ON_ARM if platform.machine().lower() in ("arm64", "aarch64") else LONGEST_STEP_FLOPS
    if len(candidates) < 2 or sequence_flops > longest:
        return policy
    batch = recipe.train.batch
    if batch * sequence_flops > LONGEST_STEP_FLOPS:
        # So many that each thread has some.
        batch = min(batch, max(policy.threads, int(TRIED_FLOPS / sequence_flops)))
    tried = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, batch=batch, micro_batch=None))
    large = activation_bytes(recipe.model, vocabulary, policy.micro_batch, FLOAT32_BYTES) > MOST_BYTES_HERE

    @functools.cache
    def step_seconds(place: int) -> float:
        if say is not None and not step_seconds.cache_info().currsize:
            say(NOTICE)
        candidate = dataclasses.replace(candidates[place], micro_batch=min(candidates[place].micro_batch, batch))
        if data_folder is not None and (
            large or candidate.engine != policy.engine or candidate.device != policy.device
        ):
            return _step_seconds_apart(tried, candidate, data_folder)
        return _step_seconds(tried, candidate, tokens, vocabulary)

    # Why the native engine isn't among them, where it might be.
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
    """How long the others' steps took in units of the chosen one's, the quickest first.

    No seconds: the forecast has those, of the whole batch and of the day.
    """
    own = seconds[_name(chosen)]
    others = sorted((value / own, name) for name, value in seconds.items() if name != _name(chosen))
    stands = "the fastest here" if all(ratio >= 1 for ratio, _ in others) else "within 10% of the fastest here"
    times = [f"{name} {'failed' if ratio * own >= NEVER else f'x{ratio:.2f}'}" for ratio, name in others]
    return f"{stands}; step times against it: {', '.join(times)}" if times else stands


def _lag(recipe: Recipe, policy: Policy, size: int, seconds: Callable[[], tuple[float, float]]) -> float:
    """How many times the seconds of a step of this engine PyTorch took here, with the model of this kind and size that it was tried
    with; 0 where it failed. `seconds` measures both, PyTorch's first.
    """

    def lag() -> dict[str, float]:
        theirs, ours = seconds()
        return {"torch": theirs / ours if theirs < NEVER else 0.0}

    return measured("lag", policy, {"kind": recipe.model.kind, "size": size}, ["torch"], lag)["torch"]


def _candidates(recipe: Recipe, policy: Policy) -> list[Policy]:
    """What the recipe leaves open: engines and a Mac's devices where it says auto, fewer threads where it says none."""
    if policy.compile or policy.ranks > 1:
        return [policy]
    if policy.device == "mps" and recipe.train.device == "auto":
        on_cpu = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, device="cpu"))
        return [policy, choose_policy(on_cpu)]
    if policy.device != "cpu":
        return [policy]
    engines = [policy.engine]
    if recipe.train.engine == "auto" and policy.engine == "native":
        engines.append("torch")
    threads = [policy.threads]
    if recipe.train.threads == 0 and physical_cores() > 1:
        # Half of the cores can be faster than all, as a small batch hasn't work for many; and so can those of the fastest kind
        # alone, as all wait for the slowest.
        fewer = {physical_cores() // 2, performance_cores()} - {policy.threads}
        threads += sorted(fewer, reverse=True)
    identities = {"native": policy.engine_identity, "torch": ""}
    pairs = [(policy.engine, count) for count in threads] + [(engine, policy.threads) for engine in engines[1:]]
    return [
        dataclasses.replace(policy, engine=engine, engine_identity=identities[engine], threads=count)
        for engine, count in pairs
    ]


def _name(policy: Policy) -> str:
    if policy.device != "cpu":
        return f"{policy.engine} on {policy.device}"
    return f"{policy.engine} on {policy.threads} thread{'s' if policy.threads > 1 else ''}"


def _step_seconds(recipe: Recipe, policy: Policy, tokens: TrainingTokens, vocabulary: int) -> float:
    """The least time of a few steps, the first left out: what other programs take away doesn't count."""
    times, _ = probe(recipe, policy, tokens, vocabulary, recipe.train.steps, lambda taken: len(taken) > TIMED_STEPS)
    return min(times[1:])


def _step_seconds_apart(recipe: Recipe, policy: Policy, data_folder: Path) -> float:
    """The same in a child process; endless where it failed."""
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
