"""The wall time of a run: from the start of its process, or of the call that trains it, until its summary is written.

Imports, the data, the choice of the engine and the trial count, and so do starting and closing. Where several processes worked on a
run, one after the other, their times add up; what lay between them doesn't count.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Literal

from lmlab.hardware.process import process_began

Since = Literal["process", "call"]
"""What wall time counts from: a command's process, or the call of `train` in a program that may have run for long."""
WORDS: dict[str, str] = {"process": "the start of the process", "call": "the call"}


@dataclass(frozen=True, kw_only=True)
class WallClock:
    """The wall time of a run that this process works on."""

    began: float
    """In `time.monotonic()`."""
    since: Since
    before: float = 0.0
    """Seconds of earlier processes."""

    @classmethod
    def of_process(cls) -> WallClock:
        """One that counts from the start of this process: for a command that does nothing else."""
        return cls(began=process_began(), since="process")

    @classmethod
    def of_call(cls) -> WallClock:
        """One that counts from now."""
        return cls(began=time.monotonic(), since="call")

    def seconds(self) -> float:
        """The wall time until now."""
        return self.before + time.monotonic() - self.began

    def after(self, seconds: float) -> WallClock:
        """This clock for a run on which earlier processes spent so many seconds."""
        return dataclasses.replace(self, before=seconds)
