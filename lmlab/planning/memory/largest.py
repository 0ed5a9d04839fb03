"""The largest micro-batch that fits into memory: tried on a GPU, predicted on a CPU.

A GPU that runs out of memory raises an error without further harm, so there the largest size is found by running. Exhausting main
memory affects the whole machine, so there it is extrapolated from smaller sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab.hardware.memory import free_memory_bytes, total_memory_bytes
from lmlab.planning.memory.by_micro_batch import CostLines
from lmlab.planning.trials.child import OUT_OF_MEMORY, Measurement, measure
from lmlab.planning.trials.here import refusal
from lmlab.planning.trials.store import facts_of, measured
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Evidence
from lmlab.training.policy import Policy

MARGIN_SHARE = 0.1
"""Share of all memory: reserved for the rest of the machine on a CPU, and for fragmentation on a GPU where the size is
extrapolated."""
MOST = 1 << 16
TRIED_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Largest:
    """The largest micro-batch that fits; 0 where not even one sequence does."""

    micro_batch: int
    evidence: Evidence
    """measured: it ran and the next size didn't; otherwise extrapolated from a line."""
    limit_bytes: int
    """The memory limit that was applied."""


def memory_limit_bytes(policy: Policy) -> int:
    """Return how much of the device's memory a training may take now; 0 where unknown."""
    device = policy.torch_device
    if device.type == "cuda":
        return free_memory_bytes(device)
    return max(0, int(free_memory_bytes(device) - MARGIN_SHARE * total_memory_bytes()))


def largest_that_fits(
    recipe: Recipe,
    policy: Policy,
    data_folder: str | Path,
    vocabulary: int,
    lines: CostLines,
    *,
    limit_bytes: int | None = None,
    most: int = MOST,
    run: Callable[..., Measurement] = measure,
) -> Largest:
    """Return the largest micro-batch of at most `most` sequences; `limit_bytes` defaults to what is free now.

    LabError where a size fails for another reason than memory or time.
    """
    limit = memory_limit_bytes(policy) if limit_bytes is None else limit_bytes
    guess = predicted(lines, limit, most)
    if policy.torch_device.type != "cuda":
        return Largest(micro_batch=guess, evidence="extrapolated", limit_bytes=limit)

    def fits(size: int) -> bool:
        found = run(
            recipe, policy, data_folder, micro_batch=size, batch=size, steps=TRIED_STEPS, seconds=2.0, whole=False
        )
        if found.failed not in (None, OUT_OF_MEMORY) and not found.was_too_long:
            raise refusal(str(found.failed))
        return found.failed is None

    facts = facts_of(recipe, vocabulary, data_folder) | {"most": most, "gigabytes": limit >> 30}
    found = measured("largest", policy, facts, ["largest"], lambda: {"largest": bisect_largest(fits, most, guess)})
    return Largest(micro_batch=int(found["largest"]), evidence="measured", limit_bytes=limit)


def predicted(lines: CostLines, limit_bytes: int, most: int = MOST) -> int:
    """Return the largest micro-batch whose memory, at the upper end of its interval, stays within `limit_bytes`."""

    def fits(size: int) -> bool:
        return lines.peak_memory_bytes(size).high <= limit_bytes

    guess = lines.memory.largest_below(limit_bytes)
    return bisect_largest(fits, most, int(min(guess, most)) if math.isfinite(guess) else most)


def bisect_largest(fits: Callable[[int], bool], most: int, guess: int = 1) -> int:
    """Return the largest size from 1 to `most` that fits, where every smaller one does too; 0 where none does.

    Begins at `guess` and steps away from it by doubling, so that a good guess takes few trials.
    """
    low, high = 0, most + 1  # low fits (0 always does), high doesn't
    size, step = min(max(1, guess), most), 1
    while high - low > 1:
        if fits(size):
            low = size
        else:
            high = size
        if low and high <= most:
            size = (low + high) // 2
        else:
            size = min(low + step, most) if low else max(high - step, 1)
            step *= 2
    return low
