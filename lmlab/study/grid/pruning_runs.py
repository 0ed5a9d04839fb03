"""Pruning runs: stop those that cannot win, by a rule on each run's own curve.

After each evaluation beyond a third of the run, its curve is extrapolated to its end (`scaling.curve`). Where the lower limit of
that interval lies above the mean loss of the best finished cell, the run is requested to stop. One in ten runs ends below its lower
limit, so at each evaluation the best run is pruned at most as often. The baseline is never stopped, since everything is compared
with it. A stopped run counts as censored (`study.grid.stopped`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lmlab import LabError
from lmlab.experiment.reading import read_record
from lmlab.files import writing_failed
from lmlab.optim.schedule import rate_share
from lmlab.recipe import Recipe
from lmlab.runs import Run
from lmlab.runs.control import FOLDER as CONTROL
from lmlab.scaling.curve import expected_end, rate_path
from lmlab.scaling.estimate import Estimate
from lmlab.stats.factorial import Cell
from lmlab.study.grid.holding import note, noted
from lmlab.study.grid.study_plan import PlannedRun
from lmlab.training.display import Display, TrainingProgress

LOOKED_FROM = 1 / 3
"""The share of a run's steps from which its curve is extrapolated."""


def heading_for(recipe: Recipe, steps: list[int], losses: list[float]) -> Estimate | None:
    """Predict the final loss of a run of `recipe` with these evaluations; None with too few of them."""
    if recipe.train.epochs is not None or not steps or steps[-1] < LOOKED_FROM * recipe.train.steps:
        return None
    length, start = recipe.train.steps, recipe.schedule.start

    def share(step: int) -> float:
        return rate_share(recipe.schedule, max(1, length - start), max(0, step - start))

    return expected_end(steps, losses, rate_path(share, length))


def heading_at(run: Run, recipe: Recipe, last: float = math.inf) -> tuple[int, Estimate] | None:
    """Return the step of the run's last evaluation up to step `last`, and the final loss predicted then; None with too few
    evaluations."""
    lines: list[Mapping[str, object]] = [
        line
        for line in run.read_lines("metrics")
        if line["kind"] == "evaluation" and line.get("valid_loss") is not None and int(str(line["step"])) <= last
    ]
    steps, losses = [int(str(line["step"])) for line in lines], [float(str(line["valid_loss"])) for line in lines]
    end = heading_for(recipe, steps, losses)
    return None if end is None else (steps[-1], end)


def best_mean(finished: Iterable[tuple[Cell, float]]) -> float | None:
    """Return the lowest mean loss of a cell; None where no run is finished."""
    losses: dict[Cell, list[float]] = {}
    for cell, loss in finished:
        losses.setdefault(cell, []).append(loss)
    return min((sum(values) / len(values) for values in losses.values()), default=None)


def last_losses(runs: Path, study: Path, planned: Sequence[PlannedRun]) -> list[tuple[Cell, float]]:
    """Return (cell, loss of the last evaluation during training) of each finished run, which is what an extrapolated curve
    predicts.

    Cells with a stopped run are left out, since their finished runs are the better ones; `study` is the study's folder.
    """
    found = []
    finished = [one for one in planned if (runs / one.name / "summary.json").exists()]
    stopped = {one.cell for one in planned if one not in finished and noted(study, one.name, "lost") is not None}
    for one in finished:
        if one.cell in stopped:
            continue
        try:
            evaluations = read_record(Run(runs / one.name)).evaluations
        except LabError:
            continue
        if evaluations:
            found.append((one.cell, evaluations[-1].valid_loss))
    return found


class RunPruner:
    """A display that extrapolates the run's curve after each evaluation, and requests its stop where it can't win."""

    def __init__(self, shown: Display, planned: PlannedRun, runs: Path, study: Path, best: float | None) -> None:
        """`best` is the lowest mean loss of a cell so far; `study` the study's folder."""
        self._shown = shown
        self._planned = planned
        self._runs = runs
        self._study = study
        self._best = best
        self._asked = False

    def open(self, title: str) -> None:
        """See `Display`."""
        self._shown.open(title)

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """See `Display`."""
        self._shown.progress(now, logged)

    def close(self) -> None:
        """See `Display`."""
        self._shown.close()

    def note(self, text: str) -> None:
        """See `Display`; called at each evaluation."""
        self._shown.note(text)
        if self._best is not None and any(self._planned.cell) and not self._asked:
            self._look(self._best)

    def _look(self, best: float) -> None:
        run = Run(self._runs / self._planned.name)
        heading = heading_at(run, self._planned.recipe)
        if heading is None or heading[1].low <= best:
            return
        step, end = heading
        words = f"heading for {end.value:.4f} ({end.low:.4f} to {end.high:.4f}), the best so far has {best:.4f}"
        values = {
            "reason": words,
            "step": step,
            "expected": end.value,
            "low": end.low,
            "high": end.high,
            "best": best,
        }
        # The note comes last: a run without a request to stop must not count as pruned.
        stop = run.folder / CONTROL / "stop"
        try:
            stop.touch()
        except OSError as error:
            raise writing_failed(stop, error) from None
        note(self._study, self._planned.name, "lost", values)
        self._asked = True
