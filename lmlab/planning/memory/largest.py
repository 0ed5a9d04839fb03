"""The largest micro-batch that fits into memory: tried on a GPU, predicted on a CPU.

On a GPU it's found by running steps in a child process. Exhausting main memory affects the whole machine, so there it is
extrapolated from smaller sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab.hardware.memory import free_memory_bytes
from lmlab.planning.memory.by_micro_batch import CostLines
from lmlab.planning.trials.child import OUT_OF_MEMORY, TOO_LONG, search_largest
from lmlab.planning.trials.here import refusal
from lmlab.planning.trials.largest import bisect_largest
from lmlab.planning.trials.store import facts_of, measured
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Evidence
from lmlab.training.memory import device_memory_bytes
from lmlab.training.policy import Policy

MARGIN_SHARE = 0.1
"""Share of all memory that stays free: for the rest of the machine on a CPU, for evaluations and fragmentation on a GPU."""
MOST = 1 << 16


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
    return max(0, int(free_memory_bytes(device) - MARGIN_SHARE * device_memory_bytes(device)))


def largest_that_fits(
    recipe: Recipe,
    policy: Policy,
    data_folder: str | Path,
    vocabulary: int,
    lines: CostLines,
    *,
    limit_bytes: int | None = None,
    most: int = MOST,
    search: Callable[..., tuple[int, str]] = search_largest,
) -> Largest:
    """Return the largest micro-batch of at most `most` sequences; `limit_bytes` defaults to what is free now.

    Where the search takes too long, or the system ends it for lack of memory, it's the line's prediction. LabError where a size
    fails for another reason.
    """
    limit = memory_limit_bytes(policy) if limit_bytes is None else limit_bytes
    guess = predicted(lines, limit, most)
    if policy.torch_device.type != "cuda":
        return Largest(micro_batch=guess, evidence="extrapolated", limit_bytes=limit)

    def find() -> dict[str, float]:
        largest, failed = search(recipe, policy, data_folder, most=most, guess=guess, limit_bytes=limit)
        unfinished = failed == OUT_OF_MEMORY or failed.startswith(TOO_LONG)
        if failed and not unfinished:
            raise refusal(failed)
        return {"largest": guess if unfinished else largest, "tried": float(not unfinished)}

    facts = facts_of(recipe, vocabulary, data_folder) | {"most": most, "gigabytes": limit >> 30}
    found = measured("largest", policy, facts, ["largest", "tried"], find)
    evidence: Evidence = "measured" if found["tried"] else "extrapolated"
    return Largest(micro_batch=int(found["largest"]), evidence=evidence, limit_bytes=limit)


def predicted(lines: CostLines, limit_bytes: int, most: int = MOST) -> int:
    """Return the largest micro-batch whose memory, at the upper end of its interval, stays within `limit_bytes`."""

    def fits(size: int) -> bool:
        return lines.peak_memory_bytes(size).high <= limit_bytes

    guess = lines.memory.largest_below(limit_bytes)
    return bisect_largest(fits, most, int(min(guess, most)) if math.isfinite(guess) else most)
