"""The machine: processor, memory, system, versions, accelerators and what torch.compile needs.

`detect()` queries the system; the result is a plain value that is stored in a run's origin and used in the choices of device,
precision and compilation. torch is imported only to look for accelerators.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmlab.hardware.cpu import cpu_name, instructions, logical_cores, physical_cores
from lmlab.hardware.memory import total_memory_bytes

if TYPE_CHECKING:
    import torch

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A GPU that PyTorch can use."""

    kind: Literal["cuda", "mps"]
    index: int
    name: str
    memory: int
    """Bytes on the device; on Apple's chips the recommended share of main memory."""
    capability: tuple[int, int] | None
    """NVIDIA's compute capability, such as (8, 6); None elsewhere."""
    driver: str | None = None
    """Version of NVIDIA's driver, where the system reports it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A computer as this process sees it, within the limits of containers and affinity masks."""

    cpu: str
    physical_cores: int
    logical_cores: int
    instructions: tuple[str, ...]
    """Instruction sets that matter for arithmetic, such as avx512_bf16 and amx_bf16, if the system reports them."""
    memory: int
    """Bytes of main memory."""
    system: str
    """Operating system and release."""
    python: str
    torch: str | None
    """PyTorch's version, None if it isn't installed."""
    triton: bool
    """Whether Triton can be imported: torch.compile writes GPU kernels with it."""
    compiler: str | None
    """Path of a C++ compiler, which torch.compile needs, or None."""
    python_headers: bool
    """Whether Python.h is installed, which compiled kernels include."""
    accelerators: tuple[Accelerator, ...]

    def facts(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def detect(accelerators: bool = True) -> Machine:
    """Return a description of this machine. `accelerators=False` leaves GPUs out and doesn't import torch, which takes a second
    or more.
    """
    return Machine(
        cpu=cpu_name(),
        physical_cores=physical_cores(),
        logical_cores=logical_cores(),
        instructions=instructions(),
        memory=total_memory_bytes(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}".strip(),
        python=platform.python_version(),
        torch=_version("torch"),
        triton=importlib.util.find_spec("triton") is not None,
        compiler=find_compiler(),
        python_headers=(Path(sysconfig.get_path("include")) / "Python.h").is_file(),
        accelerators=find_accelerators() if accelerators else (),
    )


def find_compiler() -> str | None:
    """Return the path of the C++ compiler that torch.compile would call: $CXX, else the system's usual ones; None without one."""
    usual = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
    for name in (os.environ.get("CXX", ""), *usual):
        if name and (path := shutil.which(name)):
            return str(path)
    return None


def find_accelerators() -> tuple[Accelerator, ...]:
    """Return the GPUs that PyTorch can use, in PyTorch's order; AMD's are listed as cuda. Imports torch."""
    try:
        import torch
    except ImportError:
        return ()
    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(index)
        nvidia = torch.version.hip is None
        found.append(
            Accelerator(
                kind="cuda",
                index=index,
                name=facts.name,
                memory=facts.total_memory,
                capability=(facts.major, facts.minor) if nvidia else None,
                driver=_driver() if nvidia else None,
            )
        )
    if torch.backends.mps.is_available():
        memory = torch.mps.recommended_max_memory()
        found.append(Accelerator(kind="mps", index=0, name=f"{cpu_name()} GPU", memory=memory, capability=None))
    return tuple(found)


def accelerator_at(device: torch.device) -> Accelerator | None:
    """Return the accelerator that `device` is; None for a CPU."""
    if device.type == "cpu":
        return None
    place = (device.type, device.index or 0)
    return next((one for one in find_accelerators() if (one.kind, one.index) == place), None)


def _driver() -> str | None:
    """Return the version in the driver's own file, which Linux has."""
    try:
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", DRIVER.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found[0] if found else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
