"""Device selection: the name in a recipe or flag becomes a device on which a computation has succeeded."""

from __future__ import annotations

import os
import re

import torch

from lmlab import LabError

NUMBER = re.compile(r"[0-9]{1,2}")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for `name`: cpu, cuda, cuda:1, mps, or auto for the fastest one that works.

    Raises LabError if the name is unknown, or the device is missing or can't compute.
    """
    if name == "auto":
        for candidate in (torch.device("cuda", 0), torch.device("mps")):
            if problem(candidate) is None:
                return candidate
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not NUMBER.fullmatch(number)) or name.endswith(":"):
        raise LabError(f"the device {name!r} is unknown: expected auto, cpu, cuda, cuda:1 (any number) or mps")
    if kind == "cuda":
        device = torch.device("cuda", int(number or 0))
    elif int(number or 0):
        raise LabError(f"the device {name!r} is unknown: there is only one {kind}, so write {kind}")
    else:
        device = torch.device(kind)
    if (wrong := problem(device)) is not None:
        raise LabError(f"the device {name!r} can't be used: {wrong}; use cpu, or auto for the fastest device here")
    return device


def visible_gpus() -> list[str]:
    """Return the names of PyTorch's CUDA devices as CUDA_VISIBLE_DEVICES writes them, in PyTorch's order."""
    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in named.split(",") if name.strip()]
    return names or [str(index) for index in range(torch.cuda.device_count())]


def problem(device: torch.device) -> str | None:
    """Return why nothing can be computed on `device`, in a few words, or None if it works."""
    if device.type == "cuda":
        if not torch.backends.cuda.is_built():
            return f"this PyTorch ({torch.__version__}) was built without CUDA"
        if not torch.cuda.is_available():
            return "PyTorch finds no NVIDIA GPU or driver"
        if (device.index or 0) >= torch.cuda.device_count():
            return f"the last one here is cuda:{torch.cuda.device_count() - 1}"
    elif device.type == "mps" and not torch.backends.mps.is_available():
        return "this machine or this PyTorch has no Metal"
    try:
        # a GPU that is older than the PyTorch build is "available" and fails at its first kernel
        torch.ones(2, device=device).add_(1).sum().item()
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return None


def synchronise(device: torch.device) -> None:
    """Wait until everything queued on `device` is done; returns at once on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
