"""`lmlab explain`: why two runs ended at different losses, by training recipes between theirs.

two endpoints -> factors in which they differ -> interpolating runs within a budget -> each factor's share of the difference
              -> the residual -> optionally: the first continued under the second's settings; predictions tested by runs
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.parent import parent_of
from lmlab.experiment.reading import read_record
from lmlab.files import make_folder, write_json
from lmlab.model.cost import flops_per_token
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import duration
from lmlab.runs import Run
from lmlab.runs.opening import TAGGED, open_runs
from lmlab.stats.factorial import Cell
from lmlab.study.explain.beside import given_endpoints
from lmlab.study.explain.case import Case, load_case
from lmlab.study.explain.continuing import Continuations, continuations, continued_recipes
from lmlab.study.explain.differing import factors_between, settings_of
from lmlab.study.explain.endpoints import (
    Endpoints,
    are_recipes,
    common_devices,
    endpoints_of_recipes,
    endpoints_of_runs,
    unmeasured,
)
from lmlab.study.explain.explanation import Explanation
from lmlab.study.explain.interpolation import SHARES, Interpolation, choose_interpolation
from lmlab.study.explain.predictions import Tested, tested
from lmlab.study.explain.regime import Regime, ending_of, reported_ending
from lmlab.study.grid.definition import LONGEST_NAME
from lmlab.study.grid.design import Factor, recipe_of
from lmlab.study.grid.hours import hours
from lmlab.study.grid.study_plan import PLAN, PlannedRun, StudyPlan, read_plan
from lmlab.study.grid.studying import StudyWishes, carry_out
from lmlab.study.grid.trainer import Trainer
from lmlab.training.display import Display, Quiet
from lmlab.training.signals import Interrupted


@dataclass(frozen=True, kw_only=True)
class ExplainWishes:
    """Options of an explanation."""

    seeds: int = 2
    budget_seconds: float | None = None
    """Time limit of the interpolating runs; None for no limit."""
    workers: int = 1
    continued: bool = False
    """Whether the first endpoint is continued, too."""


def explain(first: str, second: str, runs: Path, wishes: ExplainWishes | None = None, **how: Any) -> Explanation:
    """Train runs between two finished runs, two recipes, or (with `second` empty) those of a worked example, and attribute their
    difference to factors.

    The same command again continues with the runs that exist. `how`: display, progress, say. Raises LabError for anything that the
    user can correct.
    """
    wishes = wishes or ExplainWishes()
    if not second and first.startswith(TAGGED):
        first, second = _two_tagged(first, runs)
    if not second:
        return explain_case(load_case(first), runs, wishes, **how)
    if are_recipes(first, second, runs):
        name = _name(Path(first).stem, Path(second).stem)
        return explain_case(Case(name=name, first=first, second=second), runs, wishes, **how)
    endpoints = endpoints_of_runs(first, second, runs, how.get("progress"))
    if wishes.continued and endpoints[0].record is not None and endpoints[0].record.checkpoint is not None:
        raise LabError(f"--continue continues a run from its end: give {endpoints[0].record.name} without @")
    return _explain(endpoints, _name(endpoints[0].name, endpoints[1].name), runs, wishes, None, **how)


def _two_tagged(tag: str, runs: Path) -> tuple[str, str]:
    """Return the two runs that have the tag; LabError where there are fewer or more."""
    found = [f"{run.folder}@{which}" if which else str(run.folder) for run, which in open_runs([tag], runs)]
    if len(found) == 2:
        return found[0], found[1]
    names = " ".join(Path(one).name for one in found[:2])
    if len(found) == 1:
        raise LabError(f"{tag[:60]} names one run, expected two: give the other one, lmlab explain {names} RUN")
    raise LabError(
        f"{tag[:60]} names {len(found)} runs, expected two: give them by name, such as lmlab explain {names}"
    )


def _name(first: str, second: str) -> str:
    return re.sub(r"[^\w.+-]", "-", f"{first[:17]}-to-{second[:17]}")[:LONGEST_NAME].rstrip("-._+")


def explain_case(case: Case, runs: Path, wishes: ExplainWishes, **how: Any) -> Explanation:
    """Explain the difference of two recipes, which may have reported losses, and test the predictions of the case."""
    progress, say = how.get("progress"), how.get("say", print)
    settings = (case.first_settings, case.second_settings)
    one, other = (None if end is None else end.valid for end in case.reported)
    endpoints = endpoints_of_recipes(
        (case.first, case.second), settings, (one, other), case.proxies, progress=progress, say=say
    )
    return _explain(
        endpoints,
        case.name,
        runs,
        dataclasses.replace(wishes, continued=wishes.continued or case.continued),
        case,
        **how,
    )


def _explain(
    endpoints: Endpoints,
    name: str,
    runs: Path,
    wishes: ExplainWishes,
    case: Case | None,
    *,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = print,
) -> Explanation:
    folder = runs / f"study-{name}"
    devices = common_devices(endpoints)
    plan = _resolve_plan(endpoints, devices, name, folder, runs, wishes, progress, say)
    share = _share(plan, endpoints, devices)
    say(f"{endpoints[0].name} and {endpoints[1].name} differ in {', '.join(factor.name for factor in plan.factors)}")
    if (
        wishes.continued and endpoints[0].record is not None
    ):  # what can't be continued raises before the interpolating runs are trained
        point = parent_of(f"{endpoints[0].record.run.folder}@latest", runs)
        continued_recipes(point, _whole_factors(endpoints, devices), _more_steps(endpoints), name)
    if plan.given:
        say(f"not trained again: {', '.join(one.name for one in plan.given)}")
    how = "all subsets" if not plan.pairs else f"{2 * plan.pairs} orders of them"
    if case is not None and case.proxy:
        say(f"a scale model of them: {case.proxy}")
    say(
        f"interpolating runs: {how}, {len(plan.cells)} recipes, {plan.seeds} {'seed' if plan.seeds == 1 else 'seeds'} each"
        + (f", {share:.3g} of the steps" if share < 1 else "")
    )
    result = carry_out(plan, runs, StudyWishes(workers=wishes.workers), display=display, progress=progress, say=say)
    found = Explanation(
        endpoints=endpoints,
        result=result,
        share=share,
        unmeasured=(*unmeasured(endpoints, devices, bool(plan.given)), *_vanished(plan, endpoints, devices)),
        case=case,
        stopped=result.stopped,
    )
    if not found.stopped and (wishes.continued or (case is not None and case.predictions)):
        trainer = Trainer(runs=runs, display=display or Quiet(), progress=progress, say=say)
        try:
            found = _with_whole_trainings(found, devices, name, wishes, trainer)
        except Interrupted:
            found = dataclasses.replace(found, stopped=True)
    found = dataclasses.replace(found, regimes=_regimes(found, runs))
    return dataclasses.replace(found, files=tuple(found.write(folder)))


def _regimes(found: Explanation, runs: Path) -> tuple[Regime, ...]:
    """Return the regimes of both endpoints, where the interpolating runs aren't full trainings of them; without one that has no
    runs."""
    if not found.interpolating:
        return ()
    reported = (None, None) if found.case is None else found.case.reported
    # The first endpoint is trained at full length where it is continued.
    measured = (None if found.going_on is None else found.going_on.parent, None)
    regimes = []
    for level, end in enumerate(found.endpoints):
        cell = (level,) * len(found.result.plan.factors)
        finished = [run for run in found.result.cells.runs if run.cell == cell and run.loss is not None]
        interpolating = ending_of([read_record(Run(runs / run.name)) for run in finished])
        record = end.record or measured[level]
        whole = reported_ending(reported[level]) if record is None else ending_of([record])
        at = None if record is None else record.checkpoint
        if interpolating is not None:
            regimes.append(Regime(name=end.name, interpolating=interpolating, whole=whole, checkpoint=at))
    return tuple(regimes)


def _with_whole_trainings(
    found: Explanation, devices: tuple[str, str], name: str, wishes: ExplainWishes, trainer: Trainer
) -> Explanation:
    """Add what takes trainings of full length: the continuations, and the tested predictions."""
    one = found.endpoints[0]
    going_on: Continuations | None = None
    if wishes.continued:
        first = one.record or trainer.train(_named(one.whole(devices[0]), f"{name}-first"))
        going_on = continuations(
            first, name, _whole_factors(found.endpoints, devices), _more_steps(found.endpoints), trainer
        )
    predictions: tuple[Tested, ...] = ()
    if found.case is not None:
        predictions = tested(found.case.predictions, one.recipe, name, going_on, trainer)
    return dataclasses.replace(found, going_on=going_on, predictions=predictions)


def _whole_factors(endpoints: Endpoints, devices: tuple[str, str]) -> tuple[Factor, ...]:
    return factors_between(endpoints[0].whole(devices[0]), endpoints[1].whole(devices[1]))


def _more_steps(endpoints: Endpoints) -> int:
    """Return how many more steps the second has than the first; the first's number of steps where it has no more."""
    one, other = endpoints
    return other.steps - one.steps if other.steps > one.steps else one.steps


def _share(plan: StudyPlan, endpoints: Endpoints, devices: tuple[str, str]) -> float:
    """Return the share of the endpoints' steps that the interpolating runs have."""
    return plan.base.train.steps / endpoints[0].interpolated(1.0, devices[0]).train.steps


def _vanished(plan: StudyPlan, endpoints: Endpoints, devices: tuple[str, str]) -> tuple[str, ...]:
    """Return the factors of the endpoints that the interpolating runs lack: equal in the scale models, or after rounding."""
    whole = factors_between(endpoints[0].whole(devices[0]), endpoints[1].whole(devices[1]))
    kept = {factor.name for factor in plan.factors}
    where = "such short trainings" if endpoints[0].proxy is None else "the scale model"
    return tuple(f"{factor.name}, equal in {where}" for factor in whole if factor.name not in kept)


def _named(recipe: Recipe, name: str) -> Recipe:
    return dataclasses.replace(recipe, name=name, about="", claims=())


def _resolve_plan(
    endpoints: Endpoints,
    devices: tuple[str, str],
    name: str,
    folder: Path,
    runs: Path,
    wishes: ExplainWishes,
    progress: Progress | None,
    say: Callable[[str], object],
) -> StudyPlan:
    """Return the plan of the interpolating runs: the existing one with the seeds that are now requested, or a new one."""
    one, other = endpoints
    asked = json.dumps(["explain", one.identity, other.identity])
    plan = read_plan(folder)
    if plan is not None and plan.asked != asked:
        raise LabError(
            f"{folder} holds the explanation of another pair of runs: rename it, or rename one of these runs"
        )
    whole = one.interpolated(1.0, devices[0]), other.interpolated(1.0, devices[1])
    if not factors_between(*whole):
        raise LabError(
            f"{one.name} and {other.name} differ only in the seed and where they ran: lmlab compare tests such a difference"
        )
    if plan is None:
        given = given_endpoints(endpoints, devices, len(factors_between(*whole)), runs)
        chosen = _chosen(*whole, one.vocabulary, Counter(run.cell for run in given), runs, wishes, progress, say)
        shorter = (
            one.interpolated(chosen.share, devices[0]),
            other.interpolated(chosen.share, devices[1]),
        )
        plan = StudyPlan(
            name=name,
            about=f"runs interpolating between {one.name} and {other.name}",
            asked=asked,
            base=dataclasses.replace(shorter[0], name=one.name, claims=()),
            factors=factors_between(*shorter, among=settings_of(factors_between(*whole))),
            design="subsets",
            seeds=wishes.seeds,
            pairs=chosen.pairs,
        )
        _ = plan.runs
    there = read_plan(folder)
    seeds = max(plan.seeds, wishes.seeds)
    given = (
        given_endpoints(endpoints, devices, len(plan.factors), runs) if _share(plan, endpoints, devices) == 1 else ()
    )
    plan = dataclasses.replace(plan, seeds=seeds, given=given)
    if there is None or there.to_json() != plan.to_json():
        make_folder(folder, "choose another folder with --runs")
        write_json(folder / PLAN, plan.to_json())
    return plan


def _chosen(
    base: Recipe,
    other: Recipe,
    vocabulary: int,
    there: Mapping[Cell, int],
    runs: Path,
    wishes: ExplainWishes,
    progress: Progress | None,
    say: Callable[[str], object],
) -> Interpolation:
    """Return the interpolation that fits the budget; a cell's time is its FLOPs at the speed of the two endpoints, which are timed.
    Without a budget any fits, and nothing is timed."""
    factors = factors_between(base, other)
    if wishes.budget_seconds is None:
        return choose_interpolation(factors, wishes.seeds, None, lambda cell: 0.0)
    zero, whole = (0,) * len(factors), (1,) * len(factors)

    def operations(cell: Cell) -> float:
        recipe = recipe_of(cell, factors, base)
        tokens = recipe.train.steps * recipe.train.batch * recipe.model.context
        return flops_per_token(recipe.model, vocabulary).training * tokens

    endpoints = [
        PlannedRun(name="end", cell=cell, seed=1, recipe=recipe_of(cell, factors, base)) for cell in (zero, whole)
    ]
    times = hours(endpoints, runs, 1, 0, progress=progress, say=say).seconds
    # Small trainings reach fewer FLOP/s: the mean over both endpoints lies between.
    pace = sum(times.values()) / sum(operations(cell) for cell in (zero, whole))
    budget = wishes.budget_seconds * wishes.workers
    chosen = choose_interpolation(factors, wishes.seeds, budget, lambda cell: pace * operations(cell), there)
    if chosen.share < SHARES[0]:
        say(
            f"full trainings take longer than the budget: training for {chosen.share:.3g} of their steps instead, "
            f"{duration(chosen.seconds)}"
        )
    return chosen
