"""A step over many sequences that takes long even with few layers, measured at few sequences and at twice as many.

    value(n) = value(f) + (n - f) (value(2 f) - value(f)) / f

This holds for the time of a step in the sequences of its batch, and for memory in those of a pass. What doesn't grow with them
(the update of the weights, a checkpoint, the program) is in value(f).
"""

from __future__ import annotations

import dataclasses
import statistics

from lmlab.planning.child import Measurement

QUICK_STEP_SECONDS = 1.0
"""About how long the larger of the two steps is to take."""


def few_sequences(sequences: int, step_seconds: float) -> int:
    """How many sequences to measure first, where a step over all of them takes about so long: at most half of them."""
    return max(1, min(sequences // 2, int(sequences * QUICK_STEP_SECONDS / step_seconds) // 2))


def with_all_sequences(fewer: Measurement, more: Measurement, batch: int, micro_batch: int) -> Measurement:
    """The figures at a batch in passes of `micro_batch`, from those of two smaller batches."""
    steps, passes = more.batch - fewer.batch, more.micro_batch - fewer.micro_batch

    def grown(first: float, second: float, by: float) -> float:
        # What seems to save something was measured beside other work.
        return second + max(0.0, second - first) * by

    times = [statistics.median(one.step_seconds) for one in (fewer, more)]
    share = grown(times[0], times[1], (batch - more.batch) / steps) / times[1]
    deeper = (micro_batch - more.micro_batch) / passes if passes else 0.0
    peaks = {
        name: int(grown(getattr(fewer, name), getattr(more, name), deeper))
        for name in ("peak_memory_bytes", "peak_with_earlier_best_bytes")
    }
    return dataclasses.replace(
        more,
        batch=batch,
        micro_batch=micro_batch,
        extended=True,
        step_seconds=tuple(share * seconds for seconds in more.step_seconds),
        first_step_seconds=share * more.first_step_seconds,
        **peaks,
    )
