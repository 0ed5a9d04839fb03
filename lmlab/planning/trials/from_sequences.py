"""Extrapolate a step over many sequences, too long even with few layers, from a few sequences and from four times as many.

    value(n) = value(4 f) + (n - 4 f) (value(4 f) - value(f)) / (3 f)

This holds for the time of a step in the sequences of its batch, and for memory in those of a pass. Whatever doesn't grow with them
(the update of the weights, a checkpoint, the program) is in value(f). A further sequence takes at least the time of its FLOPs at
the rate of the fastest products, and at least the memory saved for its backward pass: in small batches fixed costs dominate.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable

from lmlab.planning.trials.child import Measurement

TRIED_STEP_SECONDS = 5.0
"""Approximate time of the larger of the two steps."""
TIMES = 4
"""Ratio of the two numbers of sequences."""


def few_sequences(sequences: int, step_seconds: float) -> int:
    """Return how many sequences to measure first, where a step over all takes about `step_seconds`: at most a quarter of them."""
    return max(1, min(sequences, int(sequences * TRIED_STEP_SECONDS / step_seconds)) // TIMES)


def with_all_sequences(
    fewer: Measurement,
    more: Measurement,
    batch: int,
    micro_batch: int,
    least_seconds: float,
    counted_bytes: Callable[[int], int],
    alike: bool,
) -> Measurement:
    """Return the figures at a batch in passes of `micro_batch`, from those of two smaller batches.

    `least_seconds` is the time of a sequence at the rate of the fastest products, `counted_bytes` returns the size of a pass's
    activations: evaluations and checkpoints can hide these in the peaks of small passes. The peaks' own difference counts only if
    the small passes are `alike`: if their loss is computed as that of the whole pass, in chunks or not.
    """
    times = [statistics.median(one.step_seconds) for one in (fewer, more)]
    each = max(least_seconds, (times[1] - times[0]) / (more.batch - fewer.batch))
    longer = 1 + each * (batch - more.batch) / times[1]
    passes = more.micro_batch - fewer.micro_batch

    def peak(name: str) -> int:
        first, second = int(getattr(fewer, name)), int(getattr(more, name))
        added = counted_bytes(micro_batch) - counted_bytes(more.micro_batch)
        if passes and alike:
            added = max(added, int((second - first) / passes * (micro_batch - more.micro_batch)))
        return second + added

    return dataclasses.replace(
        more,
        batch=batch,
        micro_batch=micro_batch,
        extended=True,
        step_seconds=tuple(longer * seconds for seconds in more.step_seconds),
        first_step_seconds=longer * more.first_step_seconds,
        peak_memory_bytes=peak("peak_memory_bytes"),
        peak_with_earlier_best_bytes=peak("peak_with_earlier_best_bytes"),
    )
