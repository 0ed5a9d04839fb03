"""The results of a study's runs, cell by cell: read from the runs' own folders, whichever study trained them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.experiment.reading import read_record
from lmlab.experiment.record import Record
from lmlab.recipe import Recipe, recipe_hash
from lmlab.runs import Run
from lmlab.stats.factorial import Cell
from lmlab.study.grid.holding import Ending, noted
from lmlab.study.grid.stopped import Heading, Stopped, heading_of, stopped_from
from lmlab.study.grid.study_plan import PlannedRun, StudyPlan
from lmlab.study.scores import Scale, TextScores, common_scale, scores_of

Status = Literal["finished", "lost", "failed", "unfinished", "missing"]
Endings = Callable[[str, Ending], Mapping[str, Any] | None]
"""Returns the note about a run, by its name, that ended early in that way; None without one."""
NATS_A_BIT = math.log(2)
ENDINGS: tuple[Ending, ...] = ("failed", "lost")
ALSO = ("perplexity", "accuracy", "epochs", "step_seconds", "epoch_seconds")
"""Properties of a finished run's record that are listed beside its loss; seconds are those of training alone."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One run of a study."""

    name: str
    id: str
    """Empty where there is no run yet."""
    cell: Cell
    seed: int
    status: Status
    loss: float | None = None
    """The last model's, over the whole validation split; None before the run's end."""
    seconds: float | None = None
    """Total time."""
    note: str = ""
    """Why there is no loss."""
    stopped: Stopped | None = None
    """The prediction for a run that was stopped because it couldn't win."""
    heading: Heading | None = None
    """The same in the study's measure; None where unknown."""
    also: Mapping[str, float | None] = field(default_factory=dict)
    """Further figures of tables, by their names in ALSO; None where unknown."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """The last evaluation of a cell's runs, by unit."""

    keys: NDArray[np.void]
    scores: NDArray[np.float64]
    """[units]: the mean over its runs, in nats or bits; NaN where one of them didn't score the unit."""
    sizes: NDArray[np.float64]
    """[units]: tokens or bytes."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """All results of a study."""

    measure: Scale
    runs: tuple[RunResult, ...]
    units: Mapping[Cell, Units] = field(default_factory=dict)
    """The units of cells with a finished run; empty where runs were scored on different texts."""

    def stopped(self) -> dict[Cell, int]:
        """Return how many runs of each cell were stopped. A mean over such a cell's finished runs would be biased: they are the
        better ones."""
        found: dict[Cell, int] = {}
        for run in self.runs:
            if run.status == "lost":
                found[run.cell] = found.get(run.cell, 0) + 1
        return found

    def finished(self) -> dict[Cell, int]:
        """Return how many runs of each cell are finished."""
        found: dict[Cell, int] = {}
        for run in self.runs:
            if run.loss is not None:
                found[run.cell] = found.get(run.cell, 0) + 1
        return found

    def losses(self) -> dict[Cell, list[float]]:
        """Return the losses of each cell with a finished run and without a stopped one."""
        found: dict[Cell, list[float]] = {}
        stopped = self.stopped()
        for run in self.runs:
            if run.loss is not None and run.cell not in stopped:
                found.setdefault(run.cell, []).append(run.loss)
        return found

    def by_seed(self) -> dict[Cell, dict[int, float]]:
        """Return the same by seed; of several runs of one seed the first."""
        found: dict[Cell, dict[int, float]] = {}
        stopped = self.stopped()
        for run in self.runs:
            if run.loss is not None and run.cell not in stopped:
                found.setdefault(run.cell, {}).setdefault(run.seed, run.loss)
        return found

    def censored(self) -> dict[Cell, dict[int, Heading]]:
        """Return, for each cell with a stopped run, by seed the final or predicted losses; without cells where one is unknown."""
        found: dict[Cell, dict[int, Heading]] = {cell: {} for cell in self.stopped()}
        for run in self.runs:
            if run.cell in found and run.status == "lost" and run.heading is None:
                del found[run.cell]
            elif run.cell in found and (run.loss is not None or run.heading is not None):
                end = run.heading if run.loss is None else Heading(value=run.loss)
                assert end is not None
                found[run.cell].setdefault(run.seed, end)
        return found

    def same(self) -> dict[Cell, Cell]:
        """Map each cell to the first one whose runs have the same losses, seed for seed: itself, or one that computes the same."""
        first: dict[tuple[tuple[int, float], ...], Cell] = {}
        return {cell: first.setdefault(tuple(sorted(losses.items())), cell) for cell, losses in self.by_seed().items()}

    def means(self) -> dict[Cell, float]:
        """Return the means of `losses()`."""
        return {cell: math.fsum(losses) / len(losses) for cell, losses in self.losses().items()}

    def counts(self) -> dict[Cell, int]:
        """Return the number of losses in each cell of `losses()`."""
        return {cell: len(losses) for cell, losses in self.losses().items()}


def read_cells(plan: StudyPlan, runs: Path) -> Cells:
    """Read the results of the study's runs in the folder `runs`."""
    return cells_from(plan.runs, lambda name: _run_of(runs / name), functools.partial(noted, plan.folder(runs)))


def cells_from(planned: Sequence[PlannedRun], find: Callable[[str], Run | None], endings: Endings) -> Cells:
    """Return the results of runs that `find` finds by name; `endings` returns the notes about those that ended early."""
    records: dict[str, Record] = {}
    results = []
    for one in planned:
        run = find(one.name)
        if run is None:
            results.append(_without(one, "missing", endings))
            continue
        record = read_record(run)
        if one.id and record.id != one.id:
            results.append(_without(one, "missing", endings))
            continue
        if not one.id and _deciding(record.known_recipe) != _deciding(one.recipe):
            raise LabError(
                f"{run.name} is no run of this study: its recipe differs; rename it, or choose another name for the study"
            )
        if record.summary is None:
            results.append(dataclasses.replace(_without(one, "unfinished", endings), id=record.id))
            continue
        records[one.name] = record
        results.append(
            RunResult(
                name=one.name,
                id=record.id,
                cell=one.cell,
                seed=one.seed,
                status="finished",
                seconds=record.total_seconds,
                also={name: getattr(record, name) for name in ALSO},
            )
        )
    scores = {name: found for name, record in records.items() if (found := scores_of(record)) is not None}
    measure = _measure(scores)
    finished = [_with_loss(result, records, measure) for result in results]
    whole = [
        dataclasses.replace(result, heading=heading_of(result.stopped, _ratios(one.recipe, finished, records)))
        if result.stopped is not None
        else result
        for one, result in zip(planned, finished, strict=True)
    ]
    return Cells(measure=measure, runs=tuple(whole), units=_units(planned, scores, measure))


def _run_of(folder: Path) -> Run | None:
    return Run(folder) if (folder / "origin.json").exists() else None


def _without(one: PlannedRun, status: Status, endings: Endings) -> RunResult:
    """Return the result of a run that has no loss, with the reason."""
    result = RunResult(name=one.name, id="", cell=one.cell, seed=one.seed, status=status)
    for ending in ENDINGS:
        said = endings(one.name, ending)
        if said is not None:
            stopped = stopped_from(said) if ending == "lost" else None
            return dataclasses.replace(result, status=ending, note=said["reason"], stopped=stopped)
    return result


def _deciding(recipe: Recipe) -> tuple[str, ...]:
    """Return what must be equal: the recipe's hash, the text and the arithmetic. A worker's thread count is no part of a study."""
    return recipe_hash(recipe), recipe.data.corpus, recipe.train.precision, recipe.train.device


def _measure(scores: Mapping[str, TextScores]) -> Scale:
    """Return the scale on which the finished runs, by their names, can be compared. LabError where there is none."""
    if not scores:
        return "nats a token"
    scale = common_scale(list(scores.values()))
    if scale is None:
        first, *others = scores
        other = next(name for name in others if common_scale([scores[first], scores[name]]) is None)
        raise LabError(
            f"{first} and {other} were scored on different texts or windows, so that the study's losses can't be compared: "
            "expected factors that leave the validation text and its windows as they are"
        )
    return scale


def _tokens_of(recipe: Recipe) -> tuple[object, ...]:
    """Return the settings that determine the tokens."""
    data = recipe.data
    return data.tokenizer, data.vocabulary, data.minimum_count, data.lowercase


def _ratios(recipe: Recipe, results: Sequence[RunResult], records: Mapping[str, Record]) -> list[float]:
    """Return, for finished runs with the tokens of `recipe`, the ratio of the loss in the study's measure to that of the last
    evaluation during training, in nats a token.
    """
    found = []
    for result in results:
        record = records.get(result.name)
        if result.loss is None or record is None or _tokens_of(record.known_recipe) != _tokens_of(recipe):
            continue
        last = record.evaluations[-1].valid_loss if record.evaluations else math.nan
        if math.isfinite(last) and last > 0.0:
            found.append(result.loss / last)
    return found


def _with_loss(result: RunResult, records: Mapping[str, Record], measure: Scale) -> RunResult:
    record = records.get(result.name)
    if record is None:
        return result
    loss = record.loss if measure == "nats a token" else record.bits_per_byte
    if loss is None or not math.isfinite(loss):
        return dataclasses.replace(result, status="failed", note="its loss is no number")
    return dataclasses.replace(result, loss=loss)


def _units(planned: Sequence[PlannedRun], scores: Mapping[str, TextScores], measure: Scale) -> dict[Cell, Units]:
    """Return the units of each cell; empty where runs were scored on different units, or have lost theirs."""
    by_cell: dict[Cell, list[np.ndarray]] = {}
    keys: np.ndarray | None = None
    for one in planned:
        if one.name not in scores:
            continue
        units = scores[one.name].units
        if units is None:
            return {}
        keys = units["key"] if keys is None else keys
        if not np.array_equal(keys, units["key"]):
            return {}
        by_cell.setdefault(one.cell, []).append(units)
    found = {}
    for cell, several in by_cell.items():
        means = np.mean([units["bits"][:, -1] for units in several], axis=0)
        sizes = several[0]["tokens" if measure == "nats a token" else "bytes"].astype(np.float64)
        found[cell] = Units(
            keys=several[0]["key"], scores=means * (NATS_A_BIT if measure == "nats a token" else 1.0), sizes=sizes
        )
    return found
