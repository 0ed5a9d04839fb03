"""The identity of this machine's processor: the properties that `-march=native` depends on, as one text.

Several machines may share a cache folder, and code for one processor may have instructions that another doesn't support.
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
"""File with vendor, family, model and all features of the processor as numbers, on x86 and arm64."""
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
FEATURES = ("flags", "Features")
"""Keys of the lines of instruction sets, on x86 and on arm64."""
KEYS = {
    *("vendor_id", "cpu family", "model", "model name", "stepping", FEATURES[0]),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", FEATURES[1]),  # arm64
}
"""Keys of the lines of Linux's /proc/cpuinfo that are constant."""


def processor_identity() -> str:
    """Return architecture, model and instruction sets; on processors with equal texts the same code runs.

    If the system doesn't report them, the text has this machine's name, so that no other machine has an equal text.
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
    """Return the constant lines of the first processor in `cpuinfo`, or `modalias` if `cpuinfo` lists no instruction sets.

    Empty if neither has them: the files may be hidden or emulated by a container.

    One processor stands for all. The cores of a hybrid x86 have the same flags. Those of an ARM big.LITTLE may differ in part and
    revision, and the first may be of either kind; but Linux lists the same Features for all cores, those that every core has, and
    these determine which code runs.
    """
    kept = []
    # Only the first block is read: on a server with hundreds of threads the whole file takes long.
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
    """Return this machine's name, and its installation's machine id if it has one."""
    ids = [found for path in MACHINE_IDS if (found := _text(path))]
    return " ".join(("host", platform.node(), *ids[:1]))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
