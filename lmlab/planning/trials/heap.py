"""Growth of the heap over a run whose tensors PyTorch computes on a CPU.

The C library keeps what large tensors of a step leave in its heap, where tensors of other sizes don't fit, so that the peak of
memory grows with the steps, fast at first: by 4 to 11% of the training's own memory in 60 steps after a trial, 3 to 8% in 150, 13
to 50% in 400, 16 to 24% in 500 (docs/notes/memory-of-long-runs.md). This was measured with glibc on Linux, so nothing is added
elsewhere. The native engine allocates its buffers once.
"""

from __future__ import annotations

import math
import sys

HEAP_GROWTH = 0.04
"""Share of a training's own memory by which its peak grows with each doubling of 1 + steps / FIRST_STEPS."""
FIRST_STEPS = 20
"""About as many steps as a trial takes, with its evaluations and checkpoints."""


def grown(peak: int, idle: int, steps: int) -> int:
    """Return the peak of a run of `steps` steps, from that of a trial and the memory that was held before it."""
    if sys.platform != "linux":
        return peak
    return peak + round(HEAP_GROWTH * math.log2(1 + steps / FIRST_STEPS) * max(0, peak - idle))
