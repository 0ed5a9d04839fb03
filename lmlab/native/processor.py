"""Which processor code was compiled for: what `-march=native` looks at, as one text.

A cache folder may be in a home that several machines share, and code for one may be an illegal instruction on another.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from lmlab.hardware.cpu import cpu_name, sysctl

CPUINFO = Path("/proc/cpuinfo")
KEYS = {
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),  # arm64
}
"""The lines of Linux's /proc/cpuinfo that don't change from one moment, or one core, to the next."""


def processor_identity() -> str:
    """Architecture, model and instruction sets; equal texts mean that code for one runs on the other."""
    if sys.platform == "linux":
        known = linux_identity(CPUINFO)
    elif sys.platform == "darwin" and platform.machine() == "x86_64":
        known = sysctl("machdep.cpu.features") + sysctl("machdep.cpu.leaf7_features")
    else:
        known = os.environ.get("PROCESSOR_IDENTIFIER", "")  # Windows: family, model and stepping
    return "\n".join((platform.machine(), known or cpu_name(), "" if sys.platform == "linux" else cpu_name()))


def linux_identity(cpuinfo: Path) -> str:
    """The lasting lines of the first processor that `cpuinfo` lists; empty where it can't be read."""
    kept = []
    try:
        # Line by line and only the first block: on a server with hundreds of threads the whole file takes long.
        with open(cpuinfo, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    break
                if line.partition(":")[0].strip() in KEYS:
                    kept.append(" ".join(line.split()))
    except OSError:
        return ""
    return "\n".join(kept)
