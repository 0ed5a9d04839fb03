"""Memory in bytes: total, free, and held by this process now and at its peak.

Values respect the limits of a container (control groups). torch is imported only for a device other than the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab import LabError
from lmlab.hardware.cgroup import memory_left, memory_limit
from lmlab.hardware.cpu import sysctl

if TYPE_CHECKING:
    import torch

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
VMSTAT = Path("/proc/vmstat")
LONGEST_REASON = 120
OUT_OF_MEMORY_WORDS = (
    *("out of memory", "not enough memory"),
    *("cublas_status_alloc_failed", "cudnn_status_alloc_failed", "cusolver_status_alloc_failed"),
)


def total_memory_bytes() -> int:
    """Return the bytes of main memory that this process may use; 0 if the system doesn't report it."""
    total = 0
    if sys.platform == "linux":
        total = _meminfo("MemTotal")
        total = min(total, memory_limit() or total)
    elif sys.platform == "darwin":
        total = int(sysctl("hw.memsize") or 0)
    elif sys.platform == "win32":
        total = int(_windows_memory().total)
    return total


def free_memory_bytes(device: torch.device | None = None) -> int:
    """Return the bytes that could be allocated now, in main memory or on `device`; 0 if the system doesn't report it.

    Blocks cached by PyTorch on a CUDA device count as free, since PyTorch reuses them.
    """
    if device is not None and device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device is not None and device.type == "mps":
        import torch

        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    free = 0
    if sys.platform == "linux":
        free = _meminfo("MemAvailable")
        left = memory_left()
        free = free if left is None else min(free, left)
    elif sys.platform == "darwin":
        free = int(sysctl("vm.page_free_count") or 0) * int(sysctl("hw.pagesize") or 0)
    elif sys.platform == "win32":
        free = int(_windows_memory().free)
    return free


def peak_memory_bytes(device: torch.device | None = None) -> int:
    """Return the most bytes that this process has held: of main memory, or of a CUDA `device` by PyTorch's allocator.

    What the allocator has reserved counts, fragments included, since that decides whether a training fits.

    MPS keeps no such record: the bytes held now are returned instead.
    """
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_reserved(device)
    if device is not None and device.type == "mps":
        import torch

        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        peak = int(_windows_counters().peak)
    elif sys.platform == "linux" and (mapped := _status_bytes("VmHWM")):
        # getrusage includes what the parent process held when it started this one.
        peak = mapped
    else:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return peak


def held_memory_bytes(device: torch.device | None = None) -> int:
    """Return the bytes that this process holds now: resident in main memory, or on `device` by PyTorch; 0 if unknown."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.memory_reserved(device)
    if device is not None and device.type == "mps":
        import torch

        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        return int(_windows_counters().held)
    return _status_bytes("VmRSS") if sys.platform == "linux" else 0


def release_freed_memory() -> None:
    """Return freed memory to the system, if the C library supports it (glibc's `malloc_trim`).

    glibc keeps memory freed by large tensors in its heap, where later tensors of other sizes don't fit: the peak of a process
    would depend on what it had done before.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def release_device_memory(device: torch.device) -> None:
    """Return freed tensors' memory to a CUDA device, and count its peak anew from what is held now."""
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


class OutOfMemory(LabError):
    """Memory of the machine or of a GPU ran out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of Python or PyTorch means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    # Plain RuntimeErrors of the allocator of PyTorch's CPU tensors, and of the CUDA libraries.
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY_WORDS)


def first_line(error: BaseException) -> str:
    """Return the beginning of an exception's text: PyTorch's explanations of a lack of memory are a page long."""
    return str(error).strip().partition("\n")[0][:LONGEST_REASON]


def out_of_memory_kills() -> int:
    """Return how many processes the system has killed so far for lack of memory; 0 if it isn't reported (off Linux)."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _status_bytes(key: str, path: Path = STATUS) -> int:
    """Return a value of /proc/self/status in bytes, such as VmRSS (now) or VmHWM (peak); 0 if Linux doesn't report it."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def _meminfo(key: str, path: Path = MEMINFO) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return 0


def _windows_memory() -> Any:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("free", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 5),
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return status


def _windows_counters() -> Any:
    class Counters(ctypes.Structure):
        _fields_ = [
            ("bytes", ctypes.c_ulong),
            ("faults", ctypes.c_ulong),
            ("peak", ctypes.c_size_t),
            ("held", ctypes.c_size_t),
            ("rest", ctypes.c_size_t * 6),
        ]

    counters = Counters(bytes=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.bytes)
    return counters
