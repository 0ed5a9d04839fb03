"""One training after another in this process, each an ordinary run that is trained, resumed, or there already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab import experiment
from lmlab.data.progress import Progress
from lmlab.experiment.parent import Parent
from lmlab.experiment.record import Record, read_record
from lmlab.recipe import Recipe
from lmlab.training.display import Display
from lmlab.training.signals import Interrupted


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Where runs are made, and who hears of them."""

    runs: Path
    display: Display
    progress: Progress | None
    say: Callable[[str], object]

    def train(self, recipe: Recipe, parent: Parent | None = None) -> Record:
        """The finished run called by the recipe's name; Interrupted where a signal stopped it, saved."""
        outcome = experiment.train_or_resume(
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
    """What a run says of itself stands in its folder; here a line a run is enough."""
