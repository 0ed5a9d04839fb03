"""How long a study takes, before its first run: a trial of each training that computes differently, times its steps.

Trainings of equal model, batch, optimizer and arithmetic take equally long a step, so one of them is tried. Beyond
MOST_TRIALS the time follows from the arithmetic: operations a step against those of the trial that is nearest in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmlab.data import prepare
from lmlab.data.fresh import training_split
from lmlab.data.progress import Progress
from lmlab.data.reading import reading
from lmlab.experiment.outline import Outline, outline_of
from lmlab.model import flops_per_token
from lmlab.planning.child import Measurement
from lmlab.planning.duration import duration_of
from lmlab.planning.forecast import try_here
from lmlab.planning.history import Finished, finished_runs
from lmlab.recipe import Recipe, recipe_hash
from lmlab.recipe.schedule import Constant
from lmlab.stats.factorial import Cell
from lmlab.study.plan import PlannedRun
from lmlab.training.display import duration

MOST_TRIALS = 8


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The time of what is left of a study."""

    seconds: Mapping[Cell, float]
    """Of one run of each cell that has any left."""
    runs: int
    total: float
    """Of all runs one after the other, in seconds."""
    low: float
    high: float
    trials: int
    computed: int
    """Cells whose time was computed from another's trial."""
    workers: int

    def line(self) -> str:
        """In words."""
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
    """The time of these runs on this machine, each with so many threads (0: as its recipe says). LabError where one can't be run.

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
    """`recipe` on so many CPU threads, where it leaves that open and `threads` isn't 0."""
    if not threads or recipe.train.threads:
        return recipe
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, threads=threads))


def _seconds(
    outline: Outline, trial: Measurement, factor: float, history: list[Finished]
) -> tuple[float, float, float]:
    """(expected, low, high) of a run whose step has `factor` times the trial's arithmetic."""
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
    """What a step's time depends on: without length, seed, rates and schedule."""
    train = dataclasses.replace(recipe.train, steps=1, epochs=None, seed=0, patience=0, minimum_gain=0.0)
    optim = dataclasses.replace(
        recipe.optim, lr=1.0, weight_decay=0.0, clip=1.0, clip_steps=(), clip_then=(), transfer_from=(), batch_from=None
    )
    data = dataclasses.replace(recipe.data, tokens=None)
    return dataclasses.replace(recipe, train=train, optim=optim, data=data, schedule=Constant())


def _policy(recipe: Recipe) -> tuple[object, ...]:
    train = recipe.train
    return (train.micro_batch, train.device, train.threads, train.precision, train.compile, train.engine)
