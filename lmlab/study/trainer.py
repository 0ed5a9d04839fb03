"""One training after another in this process, each an ordinary run that is trained, resumed, or there already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import experiment
from lmlab.data.progress import Progress
from lmlab.experiment.beginning import Parent
from lmlab.experiment.record import Record, read_record
from lmlab.recipe import Recipe
from lmlab.runs import Run
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
        run = Run(self.runs / recipe.name)
        there = (run.folder / "origin.json").exists()
        if there and (run.summary() or {}).get("finished") is True and run.recipe() == recipe:
            return read_record(run)
        options: dict[str, Any] = {
            "runs": self.runs, "display": self.display, "progress": self.progress, "say": _nobody,
        }  # fmt: skip
        if there:
            outcome = experiment.resume_same(recipe.name, recipe, **options)
        else:
            outcome = experiment.train(recipe, run=recipe.name, parent=parent, **options)
        if not outcome.summary:
            self.say(f"{recipe.name} stopped by {outcome.ending.reason}, saved")
            raise Interrupted
        record = read_record(run)
        self.say(f"{recipe.name}: loss {record.loss:.4f}")
        return record


def _nobody(line: str) -> None:
    """What a run says of itself stands in its folder; here a line a run is enough."""
