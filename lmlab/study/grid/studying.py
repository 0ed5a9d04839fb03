"""`lmlab study`: many ordinary runs, shared by workers, and the effects of their factors.

definition -> plan.json -> total time -> runs by workers -> cells -> effects -> study.json, study.md
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.asked import recipe_asked
from lmlab.files import FileLock, make_folder, write_json
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.device import visible_gpus
from lmlab.recipe import check, override
from lmlab.recipe.extensions import require_known_elsewhere
from lmlab.recipe.quantities import duration
from lmlab.study.grid.definition import Definition
from lmlab.study.grid.holding import forget, tidy
from lmlab.study.grid.hours import hours
from lmlab.study.grid.ledger import StudyResult, result_of, write_result
from lmlab.study.grid.pool import work_together
from lmlab.study.grid.study_plan import PLAN, StudyPlan, asked_of, is_same_study, may_change, plan_study, read_plan
from lmlab.study.grid.worker import Work, is_done, work_through
from lmlab.training import parallel
from lmlab.training.display import Display, Quiet


@dataclass(frozen=True, kw_only=True)
class StudyWishes:
    """Options of how a study is carried out."""

    workers: int = 1
    budget_seconds: float | None = None
    """Time limit: no run is begun that isn't expected to finish within it; None for no limit."""
    stop_losers: bool = False


def study(
    definition: Definition,
    runs: Path,
    wishes: StudyWishes,
    *,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = print,
) -> StudyResult:
    """Train what is missing of the study, and return its result, also where it was stopped.

    The same command again continues: finished runs are kept, and interrupted ones are resumed. `say` is called with the lines for
    the user. Raises LabError for anything that the user can correct.
    """
    if parallel.ranks() > 1:
        raise LabError("lmlab study starts its own processes: start it without torchrun, with --workers N")
    plan = resolve_plan(definition, runs, say)
    say(opening(plan))
    return carry_out(plan, runs, wishes, display=display, progress=progress, say=say)


def carry_out(
    plan: StudyPlan,
    runs: Path,
    wishes: StudyWishes,
    *,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object],
) -> StudyResult:
    """Train what is missing of a plan that is in its folder, and write the result."""
    until = None if wishes.budget_seconds is None else time.time() + wishes.budget_seconds
    folder = plan.folder(runs)
    tidy(folder)
    work = Work(runs=runs, study=folder, stop_losers=wishes.stop_losers, until=until)
    left = [one for one in plan.runs if not is_done(one, work)]
    finished = True
    if left:
        threads = max(1, physical_cores() // wishes.workers) if wishes.workers > 1 else 0
        expected = hours(left, runs, wishes.workers, threads, progress=progress, say=say)
        say(expected.line())
        if wishes.budget_seconds is not None and expected.total / expected.workers > wishes.budget_seconds:
            say(
                f"more than the budget of {duration(wishes.budget_seconds)}: a second seed comes after every cell has its first"
            )
        work = replace(work, threads=threads, seconds=expected.seconds)
        finished = _carried_out(plan, work, min(wishes.workers, len(left)), display or Quiet(), say)
    return _with_files(result_of(plan, runs), folder, finished)


def resolve_plan(definition: Definition, runs: Path, say: Callable[[str], object]) -> StudyPlan:
    """Return the study's plan and write it to its folder: the existing one, with the seeds and levels that are now requested."""
    folder = runs / f"study-{definition.name}"
    make_folder(folder, "choose another folder with --runs")
    with FileLock(folder / "lock", say, "another lmlab study begins in this folder: waiting until its plan is made"):
        there = read_plan(folder)
        if there is not None and is_same_study(there.asked, definition):
            changed = {name: value for name, value in definition.settings.items() if may_change(name)}
            base = check(override(there.base, changed))
        elif there is not None:
            raise LabError(
                f"{folder} holds another study: of {there.asked[:100]}, not {asked_of(definition)[:100]}; choose another --name"
            )
        else:
            base = recipe_asked(definition.recipe, definition.settings, definition.size or None, say)
        plan = plan_study(definition, base)
        if there is None or there.to_json() != plan.to_json():
            write_json(folder / PLAN, plan.to_json())
        forget(folder, "failed")
    return plan


def opening(plan: StudyPlan) -> str:
    """Return a line that describes the study."""
    return (
        f"study {plan.name}: {plan.design}, {len(plan.factors)} {'factor' if len(plan.factors) == 1 else 'factors'}, "
        f"{len(plan.cells)} cells, {plan.seeds} {'seed' if plan.seeds == 1 else 'seeds'} each, {len(plan.runs)} runs of "
        f"{plan.base.name}"
    )


def _carried_out(plan: StudyPlan, work: Work, workers: int, display: Display, say: Callable[[str], object]) -> bool:
    if workers > 1:
        for one in plan.runs:
            require_known_elsewhere(one.recipe)
        # A recipe that names one device is trained there by every worker.
        gpus = visible_gpus() if plan.base.train.device in ("auto", "cuda") else []
        return work_together(work, workers, say, gpus)
    return work_through(plan, work, display, say)


def _with_files(result: StudyResult, folder: Path, finished: bool) -> StudyResult:
    result = replace(result, stopped=not finished)
    return replace(result, files=tuple(write_result(result, folder)))
