"""The share of the processor that other programs leave to this one.

Linux reports, for each thread, the time that it ran and the time that it waited for a processor, and the number of tasks that run
or wait now. Elsewhere the processor time of the process and the load average are used instead.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lmlab.hardware.cpu import load_average, logical_cores, physical_cores

TASKS = Path("/proc/self/task")
LOADAVG = Path("/proc/loadavg")
BUSY = 0.5
"""Tasks of other programs per core above which a measured time depends on them as much as on the machine."""
SAMPLES = 4
MANY_SAMPLES = 20
SAMPLE_SECONDS = 0.005
NANOSECONDS = 1e9


class ShareMeter:
    """The share of a time span in which this process's threads had a processor when they wanted one.

    meter = ShareMeter(threads=2)
    ...
    meter.share()      # 1.0: they never waited; 0.5: they ran half of the time
    """

    def __init__(self, threads: int) -> None:
        """Begin the time span; `threads` is the number of threads that compute at once."""
        self._threads = threads
        self._began = time.perf_counter()
        self._processor = time.process_time()
        self._times = thread_seconds()

    def share(self) -> float:
        """Return the share since the meter was made, in (0, 1]."""
        now = thread_seconds()
        if now:
            ran, waited = (
                sum(each[place] - self._times.get(thread, (0.0, 0.0))[place] for thread, each in now.items())
                for place in (0, 1)
            )
        else:
            ran = time.process_time() - self._processor
            waited = self._threads * (time.perf_counter() - self._began) - ran
        return share_of(ran, waited)


def share_of(ran: float, waited: float) -> float:
    """Return ran / (ran + waited), in seconds; 1 if nothing ran."""
    return min(1.0, max(ran, 1e-9) / max(ran + waited, 1e-9)) if ran > 0 else 1.0


def thread_seconds(folder: Path = TASKS) -> dict[str, tuple[float, float]]:
    """Return for each thread of this process the seconds it ran and waited for a processor; empty if the system doesn't report
    them.
    """
    found = {}
    for task in folder.glob("*/schedstat"):
        try:
            ran, waited = task.read_text().split()[:2]
        except (OSError, ValueError):  # the thread has ended
            continue
        found[task.parent.name] = (int(ran) / NANOSECONDS, int(waited) / NANOSECONDS)
    return found


def others_running(samples: int = SAMPLES) -> float:
    """Return how many tasks of other programs run or wait for a processor now, or the load average off Linux. Takes 5 ms a
    sample.
    """
    if sys.platform != "linux":
        return load_average()
    counts = []
    for _ in range(samples):
        time.sleep(SAMPLE_SECONDS)  # lets spinning threads of this process stop
        try:
            counts.append(running_in(LOADAVG.read_text()) - 1)  # without this thread
        except (OSError, ValueError, IndexError):
            return load_average()
    return max(0.0, sum(counts) / len(counts))


def running_in(text: str) -> int:
    """Return the number of running tasks in a line of /proc/loadavg.

    >>> running_in("0.52 0.48 0.40 3/412 9377")
    3
    """
    return int(text.split()[3].split("/")[0])


def is_busy() -> bool:
    """Return whether other programs compute here, so that a time measured now isn't representative."""
    return others_running() > BUSY * physical_cores()


def expected_share(threads: int) -> float:
    """Return the share of the processor that `threads` threads would get now, if all running tasks got equal shares."""
    return min(1.0, max(1, logical_cores()) / (others_running(MANY_SAMPLES) + threads))
