"""How much of the processor other programs leave to this one.

Linux counts, for each thread, the time that it ran and the time that it waited for a processor, and says how many tasks run or
wait now. Elsewhere the processor time of the process and the load average stand in for these.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lmlab.hardware.cpu import load_average, logical_cores, physical_cores

TASKS = Path("/proc/self/task")
LOADAVG = Path("/proc/loadavg")
BUSY = 0.5
"""Tasks of others for each core: above this, what is measured is as much their doing as this machine's."""
SAMPLES = 4
MANY_SAMPLES = 20
SAMPLE_SECONDS = 0.005
NANOSECONDS = 1e9


class ShareMeter:
    """The share of a stretch of time in which this process's threads had a processor when they wanted one.

    meter = ShareMeter(threads=2)
    ...
    meter.share()      # 1.0: they never waited; 0.5: they ran half of the time
    """

    def __init__(self, threads: int) -> None:
        """The stretch begins. `threads` compute at a time."""
        self._threads = threads
        self._began = time.perf_counter()
        self._processor = time.process_time()
        self._times = thread_seconds()

    def share(self) -> float:
        """Since the meter was made: in (0, 1]."""
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
    """The share of ran + waited seconds that was run; 1 where there is nothing to tell from."""
    return min(1.0, max(ran, 1e-9) / max(ran + waited, 1e-9)) if ran > 0 else 1.0


def thread_seconds(folder: Path = TASKS) -> dict[str, tuple[float, float]]:
    """Seconds that each thread of this process ran, and waited for a processor; empty where the system doesn't tell."""
    found = {}
    for task in folder.glob("*/schedstat"):
        try:
            ran, waited = task.read_text().split()[:2]
        except (OSError, ValueError):  # the thread has ended
            continue
        found[task.parent.name] = (int(ran) / NANOSECONDS, int(waited) / NANOSECONDS)
    return found


def others_running(samples: int = SAMPLES) -> float:
    """How many tasks of other programs run or wait for a processor now; the load average where nobody counts. 5 ms a sample."""
    if sys.platform != "linux":
        return load_average()
    counts = []
    for _ in range(samples):
        time.sleep(SAMPLE_SECONDS)  # threads of our own that spin for a moment have stopped
        try:
            counts.append(running_in(LOADAVG.read_text()) - 1)  # this thread reads it
        except (OSError, ValueError, IndexError):
            return load_average()
    return max(0.0, sum(counts) / len(counts))


def running_in(text: str) -> int:
    """The number of running tasks in a line of /proc/loadavg.

    >>> running_in("0.52 0.48 0.40 3/412 9377")
    3
    """
    return int(text.split()[3].split("/")[0])


def is_busy() -> bool:
    """Whether other programs compute here, so that a time measured now tells little of this machine alone."""
    return others_running() > BUSY * physical_cores()


def expected_share(threads: int) -> float:
    """The share of the processor that so many threads would get now, if each running task got as much as any other."""
    return min(1.0, max(1, logical_cores()) / (others_running(MANY_SAMPLES) + threads))
