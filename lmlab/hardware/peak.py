"""Measured peak FLOP/s of matrix multiplication, the reference for model FLOPs utilisation (MFU).

A datasheet's peak is never reached on a CPU whose clock falls under load, or in a container with four of its cores; a
large square product measured with the threads in use is a reference that a run could reach.
"""

from __future__ import annotations

import statistics
import time

import torch

from lmlab.hardware.device import synchronise
from lmlab.hardware.memory import release_device_memory

SMALLEST_SIDE, LARGEST_SIDE = 256, 8192
LONG_ENOUGH = 0.01  # seconds a product: launching it and reading the clock are then below a percent


def measured_peak_flops(device: torch.device, dtype: torch.dtype = torch.float32, seconds: float = 0.3) -> float:
    """Return the FLOP/s of square matrix products of `dtype` on `device`: the median over about `seconds`.

    The side doubles from 256 until one product takes 10 ms (or reaches 8,192), so that slow arithmetic is measured in
    the same time as fast. Uses PyTorch's current number of threads and its current TF32 setting. On CUDA the device's
    peak of memory is counted anew after it, so that it isn't that of these products.
    """
    side = SMALLEST_SIDE
    while side < LARGEST_SIDE and min(_product_seconds(side, device, dtype, 0.0)) < LONG_ENOUGH:
        side *= 2
    peak = 2.0 * side**3 / statistics.median(_product_seconds(side, device, dtype, seconds))
    release_device_memory(device)
    return peak


def _product_seconds(side: int, device: torch.device, dtype: torch.dtype, seconds: float) -> list[float]:
    """Return the seconds of each of several products without the first: at least two, and as many as `seconds` allows."""
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < deadline:
        synchronise(device)
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        synchronise(device)
        times.append(time.perf_counter() - started)
    return times[1:]
