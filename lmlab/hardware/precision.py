"""The precision of the matrix multiplications, chosen from the setting and the device's capabilities, with the reason.

Weights, gradients' accumulation and optimizer states stay float32 throughout; lower precision means autocast. fp16 has
five exponent bits, so its gradients underflow without a loss scaler (arXiv 1710.03740); bf16 has float32's eight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmlab import LabError
from lmlab.hardware.cpu import instructions

NAMES = ("auto", "fp32", "tf32", "bf16", "fp16")
LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How matrix multiplications are carried out, and the sentence that gives the reason."""

    name: str
    """fp32, tf32, bf16 or fp16: never auto."""
    autocast: torch.dtype | None
    """The dtype for torch.autocast; None: no autocast."""
    scaler: bool
    """Whether the loss must be scaled (fp16)."""
    tf32: bool
    """Whether float32 matrix multiplications may round their inputs to 10 bits of mantissa."""
    reason: str

    @property
    def element_bytes(self) -> int:
        """The size of the operands of matrix products."""
        return 4 if self.autocast is None else self.autocast.itemsize


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the precision for `name` (auto, fp32, tf32, bf16, fp16) on `device`; raises LabError if the device doesn't support it.

    auto: bf16 on NVIDIA GPUs of compute capability 8 (Ampere) and later, fp16 with a scaler on older ones, else fp32.
    """
    if name not in NAMES:
        raise LabError(f"train.precision is {name!r}: expected one of {', '.join(NAMES)}")
    amd = torch.version.hip is not None
    modern = device.type == "cuda" and (amd or torch.cuda.get_device_capability(device) >= (8, 0))
    if name == "auto":
        return _automatic(device, modern)
    if name == "fp32":
        return _precision("fp32", "requested")
    if name == "tf32":
        if not modern or amd:
            raise LabError(f"tf32 needs an NVIDIA GPU of compute capability 8.0 or later, and not {device}: use fp32")
        return _precision("tf32", "requested")
    if (wrong := _fails(LOWER[name], device)) is not None:
        raise LabError(f"{name} doesn't work on {device} ({wrong}): use fp32 or auto")
    return _precision(name, "requested" + _warning(name, device, modern), tf32=modern)


def _automatic(device: torch.device, modern: bool) -> Precision:
    if modern:
        return _precision("bf16", "the GPU multiplies bf16 at full speed, without loss scaling", tf32=True)
    if device.type == "cuda":
        return _precision("fp16", "the GPU is older than bf16 (compute capability 8.0) but multiplies fp16 fast")
    if device.type == "mps":
        return _precision("fp32", "autocast gains little on Apple's GPUs")
    return _precision("fp32", "lower precision on a CPU is used only when asked for")


def _precision(name: str, reason: str, tf32: bool = False) -> Precision:
    return Precision(
        name=name, autocast=LOWER.get(name), scaler=name == "fp16", tf32=tf32 or name == "tf32", reason=reason
    )


def _warning(name: str, device: torch.device, modern: bool) -> str:
    if name == "bf16" and device.type == "cuda" and not modern:
        return "; this GPU only imitates bf16, which is slow: fp16 is faster here"
    if device.type == "cpu":
        needed = ("amx_bf16", "avx512_bf16", "bf16") if name == "bf16" else ("amx_fp16", "avx512_fp16")
        if not set(needed) & set(instructions()):
            return f"; this CPU has no {name} instructions, so it is slower than fp32"
    return ""


def _fails(dtype: torch.dtype, device: torch.device) -> str | None:
    """Return why a small forward and backward pass in `dtype` fails on `device`, or None if it works."""
    try:
        weight = torch.ones(8, 8, device=device, requires_grad=True)
        with torch.autocast(device.type, dtype=dtype):
            loss = torch.nn.functional.linear(torch.ones(2, 8, device=device), weight).float().sum()
        loss.backward()
    except (RuntimeError, TypeError) as error:
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None
