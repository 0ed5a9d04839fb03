"""The energy of one NVIDIA GPU, read from the driver's management library.

Functions and units are those of the NVML API Reference Guide: `nvmlDeviceGetTotalEnergyConsumption` (millijoules since the driver
was loaded, from Volta on) and `nvmlDeviceGetPowerUsage` (milliwatts). A reading takes microseconds and starts no process.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MILLI = 1e-3
LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"


class NvidiaGpu:
    """One GPU of NVML. Readings are None where the GPU doesn't report them."""

    def __init__(self, library: Any, uuid: str) -> None:
        """`library` is NVML; `uuid` is the GPU's with the prefix GPU-. LookupError where NVML doesn't know it."""
        self._library = library
        self._handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(self._handle)) != 0:
            raise LookupError(uuid)

    def joules(self) -> float | None:
        """Return the energy since the driver was loaded."""
        counted = ctypes.c_ulonglong()
        failed = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(counted))
        return None if failed else MILLI * counted.value

    def watts(self) -> float | None:
        """Return the power now."""
        drawn = ctypes.c_uint()
        failed = self._library.nvmlDeviceGetPowerUsage(self._handle, ctypes.byref(drawn))
        return None if failed else MILLI * drawn.value


def nvidia_gpu(device: torch.device) -> NvidiaGpu | None:
    """Return the GPU that a CUDA device is; None for other devices, or where the driver has no such library.

    It's found by its UUID, since CUDA_VISIBLE_DEVICES renumbers PyTorch's devices and not NVML's.
    """
    if device.type != "cuda" or (library := _library()) is None:
        return None
    import torch

    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    try:
        return None if uuid is None else NvidiaGpu(library, f"GPU-{uuid}")
    except LookupError:
        return None


@functools.cache
def _library() -> Any:
    """Return NVML, initialised; None where it isn't installed or doesn't start."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None
