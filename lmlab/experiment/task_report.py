"""The values of an evaluation on benchmark tasks: what was asked for, each model's result on each task, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmlab.evaluation.tasks import Item, Task
from lmlab.evaluation.tasks.contamination import Contamination
from lmlab.evaluation.tasks.files import TaskData
from lmlab.evaluation.tasks.judging import Judged
from lmlab.evaluation.tasks.pairs import TaskPair

FORMAT = 1
KIND = "tasks"


@dataclass(frozen=True, kw_only=True)
class AskedTasks:
    """What is evaluated, and how."""

    tasks: tuple[str, ...]
    """Names of tasks; `all` stands for every task with a file below `place`."""
    place: str = ""
    """The folder or file of the tasks' data, hub:OWNER/NAME, or empty for the folder `tasks` in lmlab's cache."""
    items: int | None = None
    """Score so many items of each task, chosen by `seed`; None: all."""
    seed: int = 1
    corrupted: bool = True
    """Whether the items are scored with corrupted prompts, too."""
    contamination: Literal["auto", "yes", "no"] = "auto"
    """Whether the tasks' text is looked up in the training split; auto: if that is here and has at most 256 MB."""
    device: str = "auto"


@dataclass(frozen=True, kw_only=True, eq=False)
class SelectedTask:
    """A task's data, and the items of it that are scored."""

    data: TaskData
    places: NDArray[np.int64]
    """[items]: their places in the data."""
    items: tuple[Item, ...]

    @property
    def task(self) -> Task:
        """The task."""
        return self.data.task


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskScore:
    """A model's result on a task."""

    judged: Judged
    contamination: Contamination | None
    contamination_note: str
    """Why the contamination is unknown; empty where it is known."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint that was scored."""

    name: str
    """Its column's heading: the run's name and the step."""
    run: str
    id: str
    step: int
    folder: Path
    precision: str
    device: str


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskReport:
    """All results: a list for each task, in the order of the models."""

    models: tuple[Model, ...]
    tasks: tuple[SelectedTask, ...]
    scores: Mapping[str, tuple[TaskScore, ...]]
    """Task -> a result for each model."""
    pairs: tuple[TaskPair, ...]
    asked: AskedTasks
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json; outcomes by item are in the runs' folders only."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "models": [
                {"name": model.name, "run": model.run, "id": model.id, "step": model.step, "precision": model.precision}
                for model in self.models
            ],
            "tasks": [
                {
                    **data_json(selected, self.asked),
                    "results": [
                        {"model": model.name, **_without_outcomes(score, selected.task)}
                        for model, score in zip(self.models, self.scores[selected.task.name], strict=True)
                    ],
                    "published": [dict(vars(one)) for one in selected.task.published],
                }
                for selected in self.tasks
            ],
            "pairs": [pair.to_json() for pair in self.pairs],
            "warnings": list(self.warnings),
        }


def data_json(selected: SelectedTask, asked: AskedTasks) -> dict[str, Any]:
    """Return what was scored, as plain values."""
    task, data = selected.task, selected.data
    return {
        "name": task.name,
        "about": task.about,
        "files": list(data.files),
        "data_sha256": data.sha256,
        "items": len(data.items),
        "scored_items": len(selected.places),
        "seed": asked.seed if len(selected.places) < len(data.items) else None,
        "style": task.style,
    }


def score_json(score: TaskScore, task: Task) -> dict[str, Any]:
    """Return a result with the outcome of each item, as plain values."""
    return {
        **score.judged.to_json(task),
        "contamination": None if score.contamination is None else score.contamination.to_json(),
        "contamination_note": score.contamination_note,
    }


def _without_outcomes(score: TaskScore, task: Task) -> dict[str, Any]:
    return {name: value for name, value in score_json(score, task).items() if name != "outcomes"}
