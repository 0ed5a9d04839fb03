"""Hardware detection and choices: device, threads, precision, compilation, memory, measured peak.

Names are looked up on first use: `detect` and memory need no torch, the others import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.hardware.compile import choose_compile
    from lmlab.hardware.cpu import load_average, logical_cores, performance_cores, physical_cores
    from lmlab.hardware.device import choose_device, synchronise
    from lmlab.hardware.machine import Accelerator, Machine, detect
    from lmlab.hardware.memory import (
        free_memory_bytes,
        held_memory_bytes,
        peak_memory_bytes,
        release_freed_memory,
        total_memory_bytes,
    )
    from lmlab.hardware.peak import measured_peak_flops
    from lmlab.hardware.precision import Precision, choose_precision
    from lmlab.hardware.threads import use_threads

__all__ = [
    "Accelerator",
    "Machine",
    "Precision",
    "choose_compile",
    "choose_device",
    "choose_precision",
    "detect",
    "free_memory_bytes",
    "held_memory_bytes",
    "load_average",
    "logical_cores",
    "measured_peak_flops",
    "peak_memory_bytes",
    "performance_cores",
    "physical_cores",
    "release_freed_memory",
    "synchronise",
    "total_memory_bytes",
    "use_threads",
]

__getattr__ = lazily(
    __name__,
    {
        "Accelerator": "machine",
        "Machine": "machine",
        "Precision": "precision",
        "choose_compile": "compile",
        "choose_device": "device",
        "choose_precision": "precision",
        "detect": "machine",
        "free_memory_bytes": "memory",
        "held_memory_bytes": "memory",
        "load_average": "cpu",
        "logical_cores": "cpu",
        "measured_peak_flops": "peak",
        "peak_memory_bytes": "memory",
        "performance_cores": "cpu",
        "physical_cores": "cpu",
        "release_freed_memory": "memory",
        "synchronise": "device",
        "total_memory_bytes": "memory",
        "use_threads": "threads",
    },
)
