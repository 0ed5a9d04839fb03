"""The wall time of a run: from the start of its process, or of the call that trains it, until its summary is written.

It includes imports, preparation of data, choice of the engine, the trial, start and shutdown. If a run was resumed, the times of
its processes are summed; the time between them doesn't count.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Literal

from lmlab.hardware.process import process_began

Since = Literal["process", "call"]
"""What wall time is measured from: the start of a command's process, or a call of `train` from another program."""
WORDS: dict[str, str] = {"process": "the start of the process", "call": "the call"}


@dataclass(frozen=True, kw_only=True)
class WallClock:
    """Measures the wall time of a run in this process."""

    began: float
    """Start of the measurement, in `time.monotonic()`."""
    since: Since
    before: float = 0.0
    """Seconds of earlier processes of the run."""

    @classmethod
    def of_process(cls) -> WallClock:
        """Return a clock that counts from the start of this process, for a command that only trains."""
        return cls(began=process_began(), since="process")

    @classmethod
    def of_call(cls) -> WallClock:
        """Return a clock that counts from now."""
        return cls(began=time.monotonic(), since="call")

    def seconds(self) -> float:
        """Return the wall time until now."""
        return self.before + time.monotonic() - self.began

    def after(self, seconds: float) -> WallClock:
        """Return this clock with `seconds` of earlier processes added."""
        return dataclasses.replace(self, before=seconds)
