"""Which processor code was compiled for: what `-march=native` looks at, as one text.

A cache folder may be in a home that several machines share, and code for one may be an illegal instruction on another.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path

from lmlab.hardware.cpu import cpu_name, sysctl

CPUINFO = Path("/proc/cpuinfo")
MODALIAS = Path("/sys/devices/system/cpu/modalias")
"""Vendor, family, model and every feature of the processor, as numbers; x86 and arm64 have it."""
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
FEATURES = ("flags", "Features")
"""The lines of instruction sets, on x86 and on arm64."""
KEYS = {
    *("vendor_id", "cpu family", "model", "model name", "stepping", FEATURES[0]),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", FEATURES[1]),  # arm64
}
"""The lines of Linux's /proc/cpuinfo that don't change from one moment to the next."""


def processor_identity() -> str:
    """Architecture, model and instruction sets; equal texts mean that code for one runs on the other.

    Where the system doesn't tell them, this machine's name, so that no other machine has an equal text.
    """
    name = "" if sys.platform == "linux" else cpu_name()
    if sys.platform == "linux":
        known = linux_identity(CPUINFO, MODALIAS)
    elif sys.platform == "darwin" and platform.machine() == "x86_64":
        known = sysctl("machdep.cpu.features") + sysctl("machdep.cpu.leaf7_features")
    elif sys.platform == "darwin":
        known = name if sysctl("machdep.cpu.brand_string") else ""
    else:
        known = os.environ.get("PROCESSOR_IDENTIFIER", "")  # Windows: family, model and stepping
    return "\n".join((platform.machine(), known or host_identity(), name))


def linux_identity(cpuinfo: Path, modalias: Path) -> str:
    """The lasting lines of the first processor that `cpuinfo` lists, or `modalias` where its instruction sets aren't among them.

    Empty where neither tells them: the files may be hidden, or made up by a container.

    One processor stands for all. The cores of a hybrid x86 have the same flags. Those of an ARM big.LITTLE may differ in part
    and revision, and the first may be of either kind; but Linux lists the same Features for all, those that every core has, and
    it's they that decide which code runs.
    """
    kept = []
    # Line by line and only the first block: on a server with hundreds of threads the whole file takes long.
    with contextlib.suppress(OSError), open(cpuinfo, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                break
            if line.partition(":")[0].strip() in KEYS:
                kept.append(" ".join(line.split()))
    if any(line.startswith(FEATURES) for line in kept):
        return "\n".join(kept)
    return _text(modalias)


def host_identity() -> str:
    """This machine's name, and the id that its installation was given, where it has one."""
    ids = [found for path in MACHINE_IDS if (found := _text(path))]
    return " ".join(("host", platform.node(), *ids[:1]))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
