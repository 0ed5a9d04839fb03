"""The decision whether to compile the model with torch.compile, and its reason: a pure function of setting, device and machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import LabError
from lmlab.hardware.machine import Machine

if TYPE_CHECKING:
    import torch

OLDEST_FOR_TRITON = (7, 0)


def choose_compile(name: str, device: torch.device, machine: Machine) -> tuple[bool, str]:
    """Return (compile?, reason) for `name` on, off or auto. "on" becomes False with the reason if torch.compile can't run."""
    if name not in ("auto", "on", "off"):
        raise LabError(f"train.compile is {name!r}: expected auto, on or off")
    if name == "off":
        return False, "requested"
    if (lacking := _lacking(device, machine)) is not None:
        return False, f"torch.compile can't run here: {lacking}"
    if name == "on":
        return True, "requested"
    if device.type == "cuda":
        return True, "fused kernels are much faster on a GPU"
    if device.type == "cpu":
        return False, "on a CPU it gains nothing below about 10M parameters and costs 20 to 40 s at the start"
    return False, f"its kernels for {device.type} are young"


def _lacking(device: torch.device, machine: Machine) -> str | None:
    """Return what torch.compile lacks on this machine, or None."""
    if machine.torch is None:
        return "PyTorch isn't installed"
    if device.type == "cuda":
        if not machine.triton:
            return "Triton isn't installed"
        for gpu in machine.accelerators:
            mine = gpu.kind == "cuda" and gpu.index == (device.index or 0)
            if mine and gpu.capability is not None and gpu.capability < OLDEST_FOR_TRITON:
                major, minor = gpu.capability
                return f"Triton needs compute capability 7.0 and the GPU has {major}.{minor}"
    if machine.compiler is None:
        return "there is no C++ compiler (g++, clang++ or cl)"
    if not machine.python_headers:
        return "Python's header files (python3-dev) aren't installed"
    return None
