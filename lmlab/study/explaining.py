"""`lmlab explain`: why two runs ended at different losses, by training what lies between their recipes.

two runs -> factors in which they differ -> bridging runs within a budget -> a share of the difference for each -> what is left over
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.record import Record, read_record
from lmlab.files import write_json
from lmlab.model import flops_per_token
from lmlab.recipe import Recipe, check
from lmlab.runs import open_run
from lmlab.stats.factorial import Cell
from lmlab.study.bridges import SHARES, Bridges, choose_bridges
from lmlab.study.definition import LONGEST_NAME
from lmlab.study.design import recipe_of
from lmlab.study.differing import comparable, factors_between
from lmlab.study.hours import hours
from lmlab.study.ledger import StudyResult
from lmlab.study.plan import PLAN, PlannedRun, StudyPlan, read_plan
from lmlab.study.studying import StudyWishes, carry_out
from lmlab.training.display import Display, duration

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What the difference of two runs is made of."""

    one: Record
    other: Record
    result: StudyResult
    """Of the bridging runs."""
    share: float
    """Of the steps that these had."""
    unmeasured: tuple[str, ...]
    """What differs and wasn't varied."""

    @property
    def difference(self) -> float:
        """Of the two runs' own losses, the second minus the first."""
        assert self.one.loss is not None and self.other.loss is not None
        return self.other.loss - self.one.loss

    @property
    def bridged(self) -> float | None:
        """The same of the bridging runs at both ends; None until they are there."""
        return next((effect.verdict.difference for effect in self.result.effects if effect.kind == "stack"), None)

    @property
    def residual(self) -> float | None:
        """What the bridging runs leave over of the difference."""
        return None if self.bridged is None else self.difference - self.bridged

    def lines(self) -> list[str]:
        """The residual and what it may be, in words."""
        found = [
            f"{self.one.name} {self.one.loss:.4f}, {self.other.name} {self.other.loss:.4f}: a difference of {self.difference:+.4f}"
        ]
        if self.share < 1:
            found.append(
                f"proxies: the bridging runs have {self.share:.3g} of the steps, and shares of shorter trainings"
            )
        if self.residual is not None:
            what = [*(["the trainings' shortness"] if self.share < 1 else []), *self.unmeasured, "chance"]
            found.append(f"residual {self.residual:+.4f}, which the bridging runs don't explain: {', '.join(what)}")
        return found

    def to_json(self) -> dict[str, Any]:
        """For --json and explain.json."""
        return {
            "format": FORMAT,
            "runs": [{"name": run.name, "id": run.id, "loss": run.loss} for run in (self.one, self.other)],
            "difference": self.difference,
            "bridged": self.bridged,
            "residual": self.residual,
            "share_of_steps": self.share,
            "unmeasured": list(self.unmeasured),
            "study": self.result.to_json(),
        }


def explain(
    first: str,
    second: str,
    runs: Path,
    *,
    seeds: int = 1,
    budget_seconds: float | None = None,
    workers: int = 1,
    display: Display | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = print,
) -> Explanation:
    """Bridge the recipes of two finished runs, and share out the difference of their losses.

    The same command again goes on with the bridging runs that are there. Raises LabError for anything that the user can mend.
    """
    one, other = (_finished(name, runs) for name in (first, second))
    _require_same_text(one, other)
    name = re.sub(r"[^\w.+-]", "-", f"{one.name[:17]}-to-{other.name[:17]}")[:LONGEST_NAME].rstrip("-._+")
    folder = runs / f"study-{name}"
    asked = json.dumps(["explain", one.id, other.id])
    plan = read_plan(folder)
    if plan is not None and plan.asked != asked:
        raise LabError(f"{folder} is of two other runs: rename it, or one of these")
    ends = tuple(_end(record, 1.0) for record in (one, other))
    factors = factors_between(*ends)
    if not factors:
        raise LabError(
            f"{one.name} and {other.name} differ in nothing but the seed and where they ran: lmlab compare says how sure that is"
        )
    if plan is None:
        bridges = _chosen(ends[0], ends[1], one.known_vocabulary, runs, seeds, budget_seconds, workers, progress, say)
        shorter = tuple(_end(record, bridges.share) for record in (one, other))
        plan = StudyPlan(
            name=name,
            about=f"what lies between {one.name} and {other.name}",
            asked=asked,
            base=dataclasses.replace(shorter[0], name=one.name, claims=()),
            factors=factors_between(*shorter),
            design="subsets",
            seeds=seeds,
            pairs=bridges.pairs,
        )
        _ = plan.runs
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / PLAN, plan.to_json())
    elif plan.seeds < seeds:
        plan = dataclasses.replace(plan, seeds=seeds)
        write_json(folder / PLAN, plan.to_json())
    share = plan.base.train.steps / ends[0].train.steps
    say(f"{one.name} and {other.name} differ in {', '.join(factor.name for factor in plan.factors)}")
    how = "all subsets" if not plan.pairs else f"{2 * plan.pairs} orders of them"
    say(
        f"bridging runs: {how}, {len(plan.cells)} recipes of {plan.seeds} seeds"
        + (f", {share:.3g} of the steps" if share < 1 else "")
    )
    result = carry_out(plan, runs, StudyWishes(workers=workers), display=display, progress=progress, say=say)
    found = Explanation(one=one, other=other, result=result, share=share, unmeasured=_unmeasured(one, other))
    write_json(folder / "explain.json", found.to_json())
    return found


def _finished(name: str, runs: Path) -> Record:
    run, which = open_run(name, runs)
    record = read_record(run)
    if which is not None or record.final is None:
        raise LabError(f"{name} has no final loss: expected a finished run without @")
    if record.origin.get("parent") is not None:
        raise LabError(
            f"{name} goes on from another run, which a recipe alone doesn't say: expected a run from its own beginning"
        )
    return record


def _require_same_text(one: Record, other: Record) -> None:
    """LabError unless both were scored on the same units by the same tokens."""
    units = [record.run.units() for record in (one, other)]
    same = all(np.array_equal(units[0][field], units[1][field]) for field in ("key", "tokens"))
    if not same:
        raise LabError(
            f"{one.name} and {other.name} have different validation texts or tokens, so that their losses have no difference to "
            "explain: lmlab compare --on scores both on one text"
        )


def _end(record: Record, share: float) -> Recipe:
    """A run's recipe as an end of the bridge: as many steps as it had planned, in the precision that it had."""
    recipe = record.known_recipe
    steps = recipe.train.steps if recipe.train.epochs is None else int(record.run.read("forecast.json")["steps"])
    return check(comparable(recipe, steps, record.policy.get("precision", "auto"), share))


def _chosen(
    base: Recipe,
    other: Recipe,
    vocabulary: int,
    runs: Path,
    seeds: int,
    budget: float | None,
    workers: int,
    progress: Progress | None,
    say: Callable[[str], object],
) -> Bridges:
    """The bridges that fit; a cell's time follows from its arithmetic at the speed of the two ends, which are tried."""
    factors = factors_between(base, other)
    zero, whole = (0,) * len(factors), (1,) * len(factors)

    def operations(cell: Cell) -> float:
        recipe = recipe_of(cell, factors, base)
        tokens = recipe.train.steps * recipe.train.batch * recipe.model.context
        return flops_per_token(recipe.model, vocabulary).training * tokens

    ends = [PlannedRun(name="end", cell=cell, seed=1, recipe=recipe_of(cell, factors, base)) for cell in (zero, whole)]
    times = hours(ends, runs, 1, 0, progress=progress, say=say).seconds
    # Small trainings reach fewer operations a second: both ends together are between.
    pace = sum(times.values()) / sum(operations(cell) for cell in (zero, whole))
    chosen = choose_bridges(
        factors, seeds, None if budget is None else budget * workers, lambda cell: pace * operations(cell)
    )
    if chosen.share < SHARES[0]:
        say(
            f"whole trainings take longer than the budget: proxies of {chosen.share:.3g} of their steps, {duration(chosen.seconds)}"
        )
    return chosen


def _unmeasured(one: Record, other: Record) -> tuple[str, ...]:
    """What differs between the two runs and is in no factor."""
    found = []
    if one.device != other.device:
        found.append(f"hardware ({one.device} against {other.device}), unmeasured here")
    if one.seed != other.seed:
        found.append(f"the seed ({one.seed} against {other.seed})")
    sources = [record.origin.get("code", {}).get("source_sha256") for record in (one, other)]
    if sources[0] != sources[1]:
        found.append("another version of lmlab")
    if one.data_id != other.data_id and one.known_recipe.data.tokens == other.known_recipe.data.tokens:
        found.append("other training text")
    return tuple(found)
