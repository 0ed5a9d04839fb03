"""Energy measured by the machine itself: Linux's RAPL counters, and the power that nvidia-smi reports.

    with EnergyMeter() as meter:
        work()
    meter.joules   # None if no counter can be read

RAPL counts microjoules of the processor's packages and wraps around at `max_energy_range_uj`; most systems let
only root read it. The meter includes what the package's counters include (cores, sometimes memory), not the power supply, the
screen or the disks.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

POWERCAP = Path("/sys/class/powercap")
PACKAGE = re.compile(r"intel-rapl:\d+")
"""Top-level zones: a zone below one (intel-rapl:0:0) is included in it. AMD's processors use the same names."""
MICRO = 1e-6
QUERY = ("--query-gpu=power.draw", "--format=csv,noheader,nounits")
ANSWERS_WITHIN = 5.0
SECONDS_BETWEEN = 1.0
"""Interval between readings of a GPU's power, and of counters that may wrap around."""


class EnergyMeter:
    """Context manager that measures joules between entering and leaving."""

    joules: float | None = None
    """The total over all readable counters, set after leaving; None if there was none."""
    seconds: float = 0.0

    def __init__(self, powercap: Path = POWERCAP, gpu_watts: Callable[[], float | None] | None = None) -> None:
        self._packages = [folder for folder in _packages(powercap) if _number(folder / "energy_uj") is not None]
        self._gpu_watts = nvidia_watts if gpu_watts is None else gpu_watts
        self._last: dict[Path, float] = {}
        self._cpu = self._gpu = 0.0
        self._measures_gpu = False
        self._over = threading.Event()
        self._looking = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> EnergyMeter:
        self._began = self._seen = time.perf_counter()
        self._last = {folder: _number(folder / "energy_uj") or 0.0 for folder in self._packages}
        self._watts = self._gpu_watts()
        self._measures_gpu = self._watts is not None
        if self._packages or self._measures_gpu:
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        if self._packages or self._measures_gpu:
            self._over.set()
            self._watcher.join()
            self._look()
            self.joules = self._cpu + self._gpu

    def so_far(self) -> float | None:
        """Return the joules since entering, while the work goes on; None if nothing can be read, or before entering."""
        if not self._last and not self._measures_gpu:
            return None
        self._look()
        return self._cpu + self._gpu

    def watts(self) -> float | None:
        """Return the mean power; None if nothing could be read."""
        return None if self.joules is None or self.seconds <= 0 else self.joules / self.seconds

    def _watch(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN):
            self._look()

    def _look(self) -> None:
        with self._looking:
            for folder in self._packages:
                now = _number(folder / "energy_uj")
                if now is not None:
                    self._cpu += MICRO * _counted(self._last[folder], now, _number(folder / "max_energy_range_uj"))
                    self._last[folder] = now
            if self._measures_gpu:
                watts, now_seconds = self._gpu_watts(), time.perf_counter()
                # Trapezoidal rule between two readings; after a failed reading the last power is used.
                watts = self._watts if watts is None else watts
                self._gpu += (now_seconds - self._seen) * ((self._watts or 0.0) + (watts or 0.0)) / 2
                self._watts, self._seen = watts, now_seconds


def nvidia_watts() -> float | None:
    """Return the watts of all NVIDIA GPUs together from nvidia-smi; None if it is missing or doesn't report them."""
    path = shutil.which("nvidia-smi")
    if path is None:
        return None
    try:
        answer = subprocess.run([path, *QUERY], capture_output=True, text=True, timeout=ANSWERS_WITHIN)
        return sum(float(line) for line in answer.stdout.split()) if answer.returncode == 0 else None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # "[N/A]" is no number


def _packages(powercap: Path) -> list[Path]:
    try:
        return sorted(folder for folder in powercap.iterdir() if PACKAGE.fullmatch(folder.name))
    except OSError:
        return []


def _counted(before: float, now: float, most: float | None) -> float:
    """Return the microjoules between two readings of a counter that wraps around after `most`."""
    if now >= before:
        return now - before
    return most - before + now if most is not None and most >= before else now


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
