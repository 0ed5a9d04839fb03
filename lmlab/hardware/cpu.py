"""The processor that this process may use: its name, its cores and the instructions that matter for arithmetic.

Values come from the operating system (Linux: /proc and /sys; macOS: sysctl; Windows: the registry and
kernel32); if it doesn't report a value, a less exact one is returned.
"""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from lmlab.hardware.cgroup import cpu_limit

TOPOLOGY = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
HYBRID = Path("/sys/devices/cpu_core/cpus")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "asimd", "bf16", "sve")


def cpu_name() -> str:
    """Return the processor's product name, or its architecture if the system doesn't report more."""
    found = ""
    if sys.platform == "linux":
        match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", _text(CPUINFO), re.MULTILINE)
        found = match.group(1) if match else ""
    elif sys.platform == "darwin":
        found = sysctl("machdep.cpu.brand_string")
    elif sys.platform == "win32":
        found = _windows_name()
    return " ".join((found or platform.processor() or platform.machine() or "unknown CPU").split())


def logical_cores() -> int:
    """Return the number of hardware threads that this process may use, respecting its affinity mask and its container's CPU
    quota.
    """
    count = len(_allowed())
    limit = cpu_limit() if sys.platform == "linux" else None
    return max(1, min(count, math.ceil(limit))) if limit else count


def load_average() -> float:
    """Return the one-minute load average; 0 if the system doesn't report it (Windows)."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def physical_cores() -> int:
    """Return the number of cores that this process may use; two hardware threads of one core count once. At most `logical_cores`.

    On Apple's chips only the performance cores count: matrix multiplications would wait for the slower efficiency cores.
    """
    cores = 0
    if sys.platform == "linux":
        cores = cores_of(_allowed(), TOPOLOGY)
    elif sys.platform == "darwin":
        cores = int(sysctl("hw.perflevel0.physicalcpu") or sysctl("hw.physicalcpu") or 0)
    elif sys.platform == "win32":
        cores = _windows_cores()
    return max(1, min(cores or logical_cores(), logical_cores()))


def performance_cores() -> int:
    """Return the number of `physical_cores` of the fastest kind; all of them if they are alike or the system doesn't report it."""
    cores = physical_cores()
    if sys.platform != "linux":
        return cores
    fastest = fastest_of(_allowed(), TOPOLOGY, HYBRID)
    return min(cores_of(fastest, TOPOLOGY) or cores, cores)


def fastest_of(threads: set[int], topology: Path, hybrid: Path) -> set[int]:
    """Return those of the hardware `threads` on cores of the fastest kind: Intel's performance cores, which Linux lists in the
    file `hybrid`, or the cores of the highest capacity in its topology folder (ARM).
    """
    if listed := threads_in(_text(hybrid)) & threads:
        return listed
    capacities = {thread: _text(topology / f"cpu{thread}" / "cpu_capacity").strip() for thread in threads}
    if not all(text.isdigit() for text in capacities.values()):
        return threads
    highest = max(map(int, capacities.values()), default=0)
    return {thread for thread, text in capacities.items() if int(text) == highest}


def threads_in(text: str) -> set[int]:
    """Return the hardware threads in Linux's list format, such as 0-3,8; empty if the text isn't in that format."""
    found: set[int] = set()
    for part in text.strip().split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            return set()
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


def instructions() -> tuple[str, ...]:
    """Return those of `INSTRUCTIONS` that the processor has; empty if the system doesn't report them (Windows)."""
    flags: set[str] = set()
    if sys.platform == "linux":
        match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _text(CPUINFO), re.MULTILINE)
        flags = set(match.group(1).split()) if match else set()
    elif sys.platform == "darwin":
        keys = {"avx2": "hw.optional.avx2_0", "asimd": "hw.optional.AdvSIMD", "bf16": "hw.optional.arm.FEAT_BF16"}
        flags = {name for name, key in keys.items() if sysctl(key) == "1"}
    return tuple(name for name in INSTRUCTIONS if name in flags)


def cores_of(threads: set[int], topology: Path) -> int:
    """Return the number of cores that the hardware `threads` belong to, from Linux's topology folder; 0 if it isn't reported."""
    cores = set()
    for thread in threads:
        siblings = _text(topology / f"cpu{thread}" / "topology" / "thread_siblings_list").strip()
        if not siblings:
            return 0
        cores.add(siblings)
    return len(cores)


def sysctl(key: str) -> str:
    """Return a value from macOS's sysctl, or an empty string if there is no such key."""
    try:
        answer = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _windows_name() -> str:
    import winreg

    try:
        where = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, where) as key:  # type: ignore[attr-defined,unused-ignore]
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0])  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return ""


def _windows_cores() -> int:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    size = ctypes.c_ulong(0)
    kernel.GetLogicalProcessorInformation(None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not size.value or not kernel.GetLogicalProcessorInformation(buffer, ctypes.byref(size)):
        return 0
    return cores_in(buffer.raw[: size.value], ctypes.sizeof(ctypes.c_void_p))


def cores_in(records: bytes, pointer_bytes: int) -> int:
    """Return the number of cores in Windows's SYSTEM_LOGICAL_PROCESSOR_INFORMATION records: a mask, then the relation, 0 for a
    core.

    A record has 32 bytes on 64-bit Windows (mask 8, relation 4, padding 4, union 16), and 24 on 32-bit (4, 4, 16).
    """
    record = 32 if pointer_bytes == 8 else 24
    relations = (records[at + pointer_bytes : at + pointer_bytes + 4] for at in range(0, len(records), record))
    return sum(int.from_bytes(relation, "little") == 0 for relation in relations)
