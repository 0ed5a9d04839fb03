"""The start time of this process, on the clock that measures time spans."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lmlab import IMPORTED

STAT = Path("/proc/self/stat")
START_TIME = 22
"""The field of /proc/PID/stat that has the start of the process, in clock ticks since the machine's start (proc_pid_stat(5))."""
NAME_END = ")"
"""The second field is the program's name in parentheses, which may contain spaces and parentheses; the third follows."""


def process_began(stat: Path = STAT) -> float:
    """Return when this process began, in `time.monotonic()`.

    On Linux from the kernel, to a hundredth of a second; elsewhere the time at which `lmlab` was imported, which excludes the
    start of the interpreter (some hundredths of a second) and everything that ran before that.
    """
    try:
        ticks = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(NAME_END)[2].split()[START_TIME - 3])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return IMPORTED
    began = time.monotonic() - age
    # A sandbox may report 0, or an impossible value.
    return began if ticks > 0 and began <= IMPORTED else IMPORTED
