"""Energy measured by the machine itself: Linux's RAPL counters, and those of the NVIDIA GPU that computes.

    with EnergyMeter(gpu=nvidia_gpu(device)) as meter:
        work()
    meter.joules   # None if no counter can be read

RAPL counts microjoules of the processor's packages and wraps around at `max_energy_range_uj`; most systems let
only root read it. The meter includes what the package's counters include (cores, sometimes memory), not the power supply, the
screen or the disks.
"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")
PACKAGE = re.compile(r"intel-rapl:\d+")
"""Top-level zones: a zone below one (intel-rapl:0:0) is included in it. AMD's processors use the same names."""
MICRO = 1e-6
SECONDS_BETWEEN = 1.0
"""Interval between readings of a GPU's power, and of counters that may wrap around."""


class Gpu(Protocol):
    """Readings of one GPU; None where it doesn't report them."""

    def joules(self) -> float | None:
        """Return a counter of energy."""

    def watts(self) -> float | None:
        """Return the power now."""


class EnergyMeter:
    """Context manager that measures joules between entering and leaving."""

    joules: float | None = None
    """The total over all readable counters, set after leaving; None if there was none."""
    seconds: float = 0.0

    def __init__(self, powercap: Path = POWERCAP, gpu: Gpu | None = None) -> None:
        """`gpu` is the GPU that computes; others in the machine aren't counted."""
        self._packages = [folder for folder in _packages(powercap) if _number(folder / "energy_uj") is not None]
        self._gpu = gpu
        self._last: dict[Path, float] = {}
        self._cpu_joules = self._gpu_joules = 0.0
        self._measures_gpu = False
        self._over = threading.Event()
        self._looking = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> EnergyMeter:
        self._began = self._seen = time.perf_counter()
        self._counted: float | None = None
        self._watts: float | None = None
        self._last = {folder: _number(folder / "energy_uj") or 0.0 for folder in self._packages}
        if self._gpu is not None:
            self._counted, self._watts = self._gpu.joules(), self._gpu.watts()
            self._measures_gpu = self._counted is not None or self._watts is not None
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
            self.joules = self._cpu_joules + self._gpu_joules

    def so_far(self) -> float | None:
        """Return the joules since entering, while the work goes on; None if nothing can be read, or before entering."""
        if not self._last and not self._measures_gpu:
            return None
        self._look()
        return self._cpu_joules + self._gpu_joules

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
                    self._cpu_joules += MICRO * _counted(
                        self._last[folder], now, _number(folder / "max_energy_range_uj")
                    )
                    self._last[folder] = now
            if self._measures_gpu and self._gpu is not None:
                self._look_at_gpu(self._gpu)

    def _look_at_gpu(self, gpu: Gpu) -> None:
        counted = None if self._counted is None else gpu.joules()
        if counted is not None:
            self._gpu_joules += counted - (self._counted or 0.0)
            self._counted = counted
        elif self._counted is None:
            watts, now_seconds = gpu.watts(), time.perf_counter()
            # Trapezoidal rule between two readings; after a failed reading the last power is used.
            watts = self._watts if watts is None else watts
            self._gpu_joules += (now_seconds - self._seen) * ((self._watts or 0.0) + (watts or 0.0)) / 2
            self._watts, self._seen = watts, now_seconds


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
