"""Trains one run after another in this process; each is an ordinary run, trained, resumed, or already finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab.data.progress import Progress
from lmlab.experiment.parent import Parent
from lmlab.experiment.reading import read_record
from lmlab.experiment.record import Record
from lmlab.experiment.start import train_or_resume
from lmlab.recipe import Recipe
from lmlab.training.display import Display
from lmlab.training.signals import Interrupted


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The folder of runs and the callbacks of trainings."""

    runs: Path
    display: Display
    progress: Progress | None
    say: Callable[[str], object]

    def train(self, recipe: Recipe, parent: Parent | None = None) -> Record:
        """Return the finished run with the recipe's name; Interrupted where a signal stopped it, saved."""
        outcome = train_or_resume(
            recipe,
            run=recipe.name,
            runs=self.runs,
            parent=parent,
            display=self.display,
            progress=self.progress,
            say=_nobody,
        )
        if not outcome.summary:
            self.say(f"{recipe.name} stopped by {outcome.ending.reason}, saved")
            raise Interrupted
        record = read_record(outcome.run)
        self.say(f"{recipe.name}: loss {record.loss:.4f}")
        return record


def _nobody(line: str) -> None:
    """Discard a run's own lines, which are in its folder; here one line for each run is enough."""
