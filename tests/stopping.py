"""Displays that stop or kill the training that they show."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lmlab.training.display import Quiet, TrainingProgress


class Killed(BaseException):
    """Ends a training at once, as a lost machine would: nothing of lmlab catches it."""


class StopAt(Quiet):
    """Sends this process a signal after each of these steps, as Ctrl-C or a batch system would."""

    def __init__(self, *steps: int, number: int = signal.SIGTERM) -> None:
        self.steps, self.number = steps, number

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """A step was taken."""
        if now.step in self.steps:
            os.kill(os.getpid(), self.number)


class KillAt(Quiet):
    """Raises `Killed` after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """A step was taken."""
        if now.step == self.step:
            raise Killed


class StopAfterNotes(Quiet):
    """Sends this process SIGINT with the note of that number: a training of a search, or an evaluation of a study."""

    def __init__(self, notes: int) -> None:
        self.left = notes

    def note(self, text: str) -> None:
        """A line was shown."""
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGINT)


class AskToStopAt(Quiet):
    """Leaves the file by which a run is asked to stop after a step, as `touch control/stop` does."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """A step was taken."""
        if now.step == self.step:
            (self.folder / "control" / "stop").touch()
