"""The total time of a study, predicted before its first run from trials of its distinct trainings.

Trainings of equal model, batch, optimizer and arithmetic take equal time for a step, so only one of them is tried. Beyond
MOST_TRIALS the time is that of the trial nearest in FLOPs a step, scaled by the ratio of FLOPs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmlab.data.fresh import training_split
from lmlab.data.preparation import prepare
from lmlab.data.progress import Progress
from lmlab.data.reading import reading
from lmlab.experiment.outline import Outline, outline_of
from lmlab.model.cost import flops_per_token
from lmlab.planning.forecasts.duration import duration_of
from lmlab.planning.forecasts.history import Finished, finished_runs
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.here import try_here
from lmlab.recipe import Recipe, recipe_hash
from lmlab.recipe.quantities import duration
from lmlab.recipe.schedule import Constant
from lmlab.stats.factorial import Cell
from lmlab.study.grid.study_plan import PlannedRun

MOST_TRIALS = 8


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The predicted time of the remaining runs of a study."""

    seconds: Mapping[Cell, float]
    """Time of one run of each cell that has any left."""
    runs: int
    total: float
    """Time of all runs one after the other, in seconds."""
    low: float
    high: float
    trials: int
    computed: int
    """Cells whose time was computed from another cell's trial."""
    workers: int

    def line(self) -> str:
        """Return the prediction as a line of text."""
        spread = f"{duration(self.low / self.workers)} to {duration(self.high / self.workers)}"
        sure = f"measured: {self.trials} trial" + ("s" if self.trials != 1 else "")
        if self.computed:
            sure += f"; {self.computed} cells computed from their arithmetic"
        together = f", {self.workers} at a time, if they don't slow each other down" if self.workers > 1 else ""
        return f"{self.runs} runs to train, about {duration(self.total / self.workers)} ({spread}; {sure}){together}"


def hours(
    left: Sequence[PlannedRun],
    runs: Path,
    workers: int,
    threads: int,
    *,
    progress: Progress | None = None,
    say: Callable[[str], object],
) -> Hours:
    """Predict the time of these runs on this machine, with `threads` CPU threads each (0: as the recipe sets). LabError where one
    can't run.

    Their data is prepared.
    """
    history = finished_runs(runs)
    tried: dict[str, tuple[float, Outline, Measurement]] = {}
    seconds: dict[Cell, tuple[float, float, float]] = {}
    computed = 0
    for one in left:
        if one.cell in seconds:
            continue
        recipe = with_threads(one.recipe, threads)
        dataset = prepare(recipe.data, progress=progress)
        outline = outline_of(recipe, dataset, training_split(recipe, dataset), None, say)
        key, work = recipe_hash(_one_step(recipe)) + str(_policy(recipe)), _operations(outline)
        if key not in tried and len(tried) < MOST_TRIALS:
            tried[key] = (work, outline, try_here(recipe, outline.policy, dataset, say))
        if key not in tried:
            computed += 1
        known, _, trial = tried.get(key) or min(tried.values(), key=lambda entry: abs(entry[0] - work))
        seconds[one.cell] = _seconds(outline, trial, work / known, history)
    of_all = [sum(seconds[one.cell][part] for one in left) for part in range(3)]
    return Hours(
        seconds={cell: value[0] for cell, value in seconds.items()},
        runs=len(left),
        total=of_all[0],
        low=of_all[1],
        high=of_all[2],
        trials=len(tried),
        computed=computed,
        workers=min(workers, max(1, len(left))),
    )


def with_threads(recipe: Recipe, threads: int) -> Recipe:
    """Return `recipe` with so many CPU threads, where it leaves that open and `threads` isn't 0."""
    if not threads or recipe.train.threads:
        return recipe
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, threads=threads))


def _seconds(
    outline: Outline, trial: Measurement, factor: float, history: list[Finished]
) -> tuple[float, float, float]:
    """Return (expected, low, high) seconds of a run whose step has `factor` times the trial's FLOPs."""
    recipe, calibrations = outline.recipe, outline.expectation(history).calibrations
    step_tokens = reading(recipe, outline.dataset).tokens(recipe.train.batch)
    time = duration_of(recipe, trial, outline.steps, outline.plan, calibrations, step_tokens)
    total = time.total_seconds.scaled(factor)
    return total.value, total.low, total.high


def _operations(outline: Outline) -> float:
    recipe = outline.recipe
    tokens = recipe.train.batch * recipe.model.context
    return flops_per_token(recipe.model, outline.dataset.vocabulary_size).training * tokens


def _one_step(recipe: Recipe) -> Recipe:
    """Return the recipe reduced to what a step's time depends on: without length, seed, rates and schedule."""
    train = dataclasses.replace(recipe.train, steps=1, epochs=None, seed=0, patience=0, minimum_gain=0.0)
    optim = dataclasses.replace(
        recipe.optim, lr=1.0, weight_decay=0.0, clip=1.0, clip_steps=(), clip_then=(), transfer_from=(), batch_from=None
    )
    data = dataclasses.replace(recipe.data, tokens=None)
    return dataclasses.replace(recipe, train=train, optim=optim, data=data, schedule=Constant())


def _policy(recipe: Recipe) -> tuple[object, ...]:
    train = recipe.train
    return (train.micro_batch, train.device, train.threads, train.precision, train.compile, train.engine)
