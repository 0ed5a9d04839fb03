"""A study's result as values, JSON and text, and its recomputation from the runs.

study.json holds the plan, each run's id and loss, and every figure that study.md prints. `recomputed` computes the figures again
from the runs with these ids, so that `lmlab verify` can compare the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import printable
from lmlab.experiment.record import Record
from lmlab.files import remove_old_temporaries, write_json, write_text
from lmlab.runs import Run
from lmlab.stats.factorial import Cell
from lmlab.stats.paired_seeds import Noise
from lmlab.stats.verdict import LEVEL
from lmlab.study.explain.beside import finished_beside, noise_beside
from lmlab.study.grid.bounds import least_mean
from lmlab.study.grid.cells import Cells, Endings, RunResult, cells_from, read_cells
from lmlab.study.grid.effects import Effect, effects_of
from lmlab.study.grid.study_plan import StudyPlan
from lmlab.study.grid.words import markdown

FORMAT = 1
KIND = "study"


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """The result of a study, finished or not."""

    plan: StudyPlan
    cells: Cells
    noise: Noise
    effects: tuple[Effect, ...]
    among: tuple[str, ...] = ()
    """Ids of the finished runs from which the noise was estimated, where these aren't the study's own."""
    stopped: bool = False
    """Whether a signal interrupted it."""
    files: tuple[Path, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train."""
        return all(run.status not in ("missing", "unfinished") for run in self.cells.runs)

    def to_json(self) -> dict[str, Any]:
        """Return the value for study.json and --json."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "recompute": f"lmlab verify study-{self.plan.name}/study.json --runs FOLDER",
            "plan": self.plan.to_json(),
            "complete": self.complete,
            "runs": [_run_json(run, self.plan) for run in self.cells.runs],
            **({"among": list(self.among)} if self.among else {}),
            **figures(self.plan, self.cells, self.noise, self.effects),
        }


def result_of(plan: StudyPlan, runs: Path) -> StudyResult:
    """Return the result from the runs in the folder `runs`."""
    cells = read_cells(plan, runs)
    there = finished_beside(plan, runs)
    noise, effects = effects_of(plan, cells, noise_beside(plan, there, cells.measure))
    among = tuple(sorted(record.id for record in there))
    return StudyResult(plan=plan, cells=cells, noise=noise, effects=tuple(effects), among=among)


def write_result(result: StudyResult, folder: Path) -> list[Path]:
    """Write study.json and study.md, and return their paths; another machine that shares the study may be writing them, too."""
    remove_old_temporaries(folder)
    write_json(folder / "study.json", result.to_json())
    text = markdown(result.plan, result.cells, result.noise, result.effects)
    write_text(folder / "study.md", printable(text, lines=True))
    return [folder / "study.md", folder / "study.json"]


def figures(plan: StudyPlan, cells: Cells, noise: Noise, effects: tuple[Effect, ...]) -> dict[str, Any]:
    """Return the figures that are computed from the runs."""
    return {
        "measure": cells.measure,
        "level": LEVEL,
        "noise": noise.to_json(),
        "cells": [
            *(_cell_json(cell, losses, plan) for cell, losses in cells.losses().items()),
            *(_stopped_json(cell, number, plan, cells) for cell, number in cells.stopped().items()),
        ],
        "effects": [effect.to_json(plan) for effect in effects],
    }


def recomputed(
    plan: StudyPlan, found: Mapping[str, Run], endings: Endings, there: Sequence[Record] = ()
) -> dict[str, Any]:
    """Return the runs' losses by name, and the figures, from runs by their names in the plan. `endings` returns the notes about
    those that ended early; `there` are the runs from which the noise is estimated where the plan has given runs."""
    cells = cells_from(plan.runs, found.get, endings)
    noise, effects = effects_of(plan, cells, noise_beside(plan, there, cells.measure))
    return {
        "runs": {one.name: run.loss for one, run in zip(plan.runs, cells.runs, strict=True)},
        **figures(plan, cells, noise, tuple(effects)),
    }


def _run_json(run: RunResult, plan: StudyPlan) -> dict[str, Any]:
    return {
        "name": run.name,
        "id": run.id,
        "cell": plan.label(run.cell),
        "seed": run.seed,
        "status": run.status,
        "loss": run.loss,
        "seconds": run.seconds,
        "note": run.note,
        **({} if run.status != "lost" else {"stopped": None if run.stopped is None else run.stopped.to_json()}),
        **run.also,
    }


def _cell_json(cell: Cell, losses: list[float], plan: StudyPlan) -> dict[str, Any]:
    return {
        "cell": plan.label(cell),
        "seeds": len(losses),
        "mean": math.fsum(losses) / len(losses),
        "standard_deviation": float(np.std(losses, ddof=1)) if len(losses) > 1 else None,
    }


def _stopped_json(cell: Cell, number: int, plan: StudyPlan, cells: Cells) -> dict[str, Any]:
    """Return the entry of a cell with stopped runs, whose mean has at most a lower limit."""
    ends = cells.censored().get(cell)
    return {
        "cell": plan.label(cell),
        "seeds": cells.finished().get(cell, 0),
        "stopped": number,
        "mean": None,
        "at_least": None if ends is None else least_mean(ends),
        "standard_deviation": None,
    }
