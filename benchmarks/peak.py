"""The machine's float32 peak, in a worker process: large square products by torch.mm, the yardstick of utilisation (MFU)."""

from __future__ import annotations

import time

from benchmarks.turns import Work

SIDES = (512, 1024, 2048)
"""Larger than the caches of a core, smaller than what takes seconds; the fastest of them is the yardstick."""
TRIALS = 3


def products(threads: int) -> Work:
    """Products of the side that is fastest here; `flops` in the facts are those of one product."""
    import torch

    torch.set_num_threads(threads)
    side = max(SIDES, key=_rate)
    left, right, out = torch.randn(side, side), torch.randn(side, side), torch.empty(side, side)

    def run(count: int) -> None:
        for _ in range(count):
            torch.mm(left, right, out=out)

    return Work(run=run, facts={"flops": 2.0 * side**3, "side": side})


def _rate(side: int) -> float:
    import torch

    left, right, out = torch.randn(side, side), torch.randn(side, side), torch.empty(side, side)
    torch.mm(left, right, out=out)
    times = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        times.append(time.perf_counter() - started)
    return side**3 / min(times)
