"""Benchmark tasks on the models of runs: a task's items are read once, every model scores them, and each run keeps its results."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError, StorageError, __version__
from lmlab.data.dataset import Dataset
from lmlab.data.progress import Progress, shown
from lmlab.evaluation.tasks import TASKS, Task
from lmlab.evaluation.tasks.contamination import shares_in_training, summarise
from lmlab.evaluation.tasks.encoding import Encoder
from lmlab.evaluation.tasks.figures import clusters_of
from lmlab.evaluation.tasks.files import available, default_folder, read_task
from lmlab.evaluation.tasks.judging import Judged, judge
from lmlab.evaluation.tasks.outcomes import RIGHT
from lmlab.evaluation.tasks.pairs import Compared, Side, TaskPair, verdicts
from lmlab.evaluation.tasks.scoring import Scorer
from lmlab.evaluation.tasks.selection import select
from lmlab.evaluation.training_text import is_quick
from lmlab.experiment.arithmetic import arithmetic_of
from lmlab.experiment.judging import checkpoint_in
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.task_report import AskedTasks, Model, SelectedTask, TaskReport, TaskScore, data_json, score_json
from lmlab.generation.prompts import begin_of, first_token
from lmlab.runs import Run, open_runs
from lmlab.runs.task_results import ROW, write_task_result

ALL = "all"
MOST_MODELS = 8


def evaluate_tasks(
    references: Sequence[str], asked: AskedTasks, runs: str | Path = "runs", progress: Progress | None = None
) -> TaskReport:
    """Score the named models on the tasks, store each result in its run's folder, and compare the models with one another.

    LabError where a run, a task or its data isn't there or is invalid, before anything is scored.
    """
    with shown(progress) as progress:
        opened = open_runs(references, Path(runs))
        if not 1 <= len(opened) <= MOST_MODELS:
            raise LabError(f"expected 1 to {MOST_MODELS} runs to score, got {len(opened)}")
        references = _different(opened)
        tasks = tuple(_selected(task, asked, progress) for task in tasks_named(asked.tasks, asked.place))
        models: list[Model] = []
        scores: dict[str, list[TaskScore]] = {selected.task.name: [] for selected in tasks}
        shares = _Shares(tasks, asked, progress)
        warnings: list[str] = []
        for reference in references:
            loaded = load(reference, runs, asked.device)
            model, judged = _judged(loaded, tasks, asked, progress)
            found = [
                _with_contamination(one, selected, loaded, shares) for one, selected in zip(judged, tasks, strict=True)
            ]
            warnings += [*loaded.warnings, *_stored(model, tasks, found, asked)]
            models.append(model)
            for selected, score in zip(tasks, found, strict=True):
                scores[selected.task.name].append(score)
    named = tuple(_uniquely_named(models))
    return TaskReport(
        models=named,
        tasks=tasks,
        scores={name: tuple(found) for name, found in scores.items()},
        pairs=tuple(_pairs(named, tasks, scores)),
        asked=asked,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _different(opened: Sequence[tuple[Run, str | None]]) -> list[str]:
    """Return a reference to the checkpoint of each run. LabError where one has none, or two are the same."""
    found: dict[tuple[str, int], str] = {}
    for run, which in opened:
        run.recipe()
        checkpoint, _ = checkpoint_in(run, which or "best")
        if (run.id, checkpoint.step) in found:
            raise LabError(f"{run.name}@{checkpoint.step} is named twice: expected different models")
        found[run.id, checkpoint.step] = f"{run.folder}@{which or 'best'}"
    return list(found.values())


def tasks_named(names: Iterable[str], place: str = "") -> list[Task]:
    """Return the tasks of these names, each once, in the order of the registry for `all`. LabError for an unknown name."""
    found: dict[str, Task] = {}
    for name in names:
        if name == ALL:
            there = available(list(TASKS.values()), place)
            if not there:
                raise LabError(
                    f"{place or default_folder()} has no file of a task: docs/tasks.md lists their names; name the folder with "
                    "--task-data"
                )
            found.update({task.name: task for task in there})
        elif name in TASKS:
            found[name] = TASKS[name]
        else:
            close = difflib.get_close_matches(name, TASKS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected {ALL} or some of {', '.join(TASKS)}"
            raise LabError(f"there is no task {name[:40]!r}: {hint}")
    return list(found.values())


def encoder_of(loaded: Loaded) -> Encoder:
    """Return how texts are encoded for a loaded model: as prompts of a generation are."""
    return Encoder(
        tokenizer=loaded.tokenizer,
        context=loaded.recipe.model.context,
        first=first_token(loaded.tokenizer),
        begin=begin_of(loaded.recipe.data, loaded.tokenizer),
    )


def _selected(task: Task, asked: AskedTasks, progress: Progress) -> SelectedTask:
    progress.begin(f"reading {task.name}", None)
    data = read_task(task, asked.place)
    places = select(data.items, asked.items, asked.seed)
    return SelectedTask(data=data, places=places, items=tuple(data.items[place] for place in places.tolist()))


def _judged(
    loaded: Loaded, tasks: Sequence[SelectedTask], asked: AskedTasks, progress: Progress
) -> tuple[Model, list[Judged]]:
    """Return the model and its results on the tasks."""
    arithmetic = arithmetic_of(loaded)
    encoder = encoder_of(loaded)
    scorer = Scorer(model=loaded.model, device=loaded.device, autocast=arithmetic.autocast, engine=arithmetic.engine)
    model = Model(
        name=f"{loaded.run.name}@{loaded.step}",
        run=loaded.run.name,
        id=loaded.run.id,
        step=loaded.step,
        folder=loaded.run.folder,
        precision=arithmetic.precision,
        device=loaded.device.type,
    )
    judged = []
    with arithmetic.products():
        for selected in tasks:
            judged.append(
                judge(
                    selected.task,
                    selected.items,
                    encoder,
                    scorer,
                    corrupted=asked.corrupted,
                    begin=lambda what, size: progress.begin(f"{model.name}: {what}", size),
                    advance=progress.advance,
                )
            )
    return model, judged


class _Shares:
    """The shares of the tasks' text in training splits, each of which is searched once."""

    def __init__(self, tasks: Sequence[SelectedTask], asked: AskedTasks, progress: Progress) -> None:
        self._tasks, self._asked, self._progress = tasks, asked, progress
        self._known: dict[str, dict[str, NDArray[np.float64]]] = {}

    def of(self, loaded: Loaded) -> tuple[dict[str, NDArray[np.float64]], str, str]:
        """Return (task -> shares by item, the data set's id, why they are unknown) for the data of a run."""
        if self._asked.contamination == "no":
            return {}, "", "not looked up (--contamination no)"
        try:
            dataset: Dataset = loaded.dataset()
        except LabError as error:
            if self._asked.contamination == "yes":
                raise
            return {}, "", f"unknown: {error}"
        if self._asked.contamination == "auto" and not is_quick(dataset):
            return {}, dataset.id, "not looked up, the training text is large: --contamination yes"
        if dataset.id not in self._known:
            found = shares_in_training(dataset, [selected.items for selected in self._tasks], self._progress)
            self._known[dataset.id] = {
                selected.task.name: one for selected, one in zip(self._tasks, found, strict=True)
            }
        return self._known[dataset.id], dataset.id, ""


def _with_contamination(judged: Judged, selected: SelectedTask, loaded: Loaded, shares: _Shares) -> TaskScore:
    found, data_id, note = shares.of(loaded)
    if note:
        return TaskScore(judged=judged, contamination=None, contamination_note=note)
    outcomes = judged.scores.outcomes(selected.task.style)
    contamination = summarise(
        found[selected.task.name],
        outcomes == RIGHT,
        judged.scores.scorable,
        clusters_of(selected.items),
        data_id,
    )
    return TaskScore(judged=judged, contamination=contamination, contamination_note="")


def _stored(model: Model, tasks: Sequence[SelectedTask], scores: Sequence[TaskScore], asked: AskedTasks) -> list[str]:
    """Write the results into the run's folder; return a line if the disk refuses."""
    try:
        for selected, score in zip(tasks, scores, strict=True):
            clusters = clusters_of(selected.items)
            value = {
                "id": model.id,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "lmlab": __version__,
                "precision": model.precision,
                "device": model.device,
                **data_json(selected, asked),
                "clusters": None if clusters is None else clusters.tolist(),
                "selected": selected.places.tolist() if len(selected.places) < len(selected.data.items) else None,
                **score_json(score, selected.task),
            }
            rows = score.judged.rows(selected.places, ROW)
            write_task_result(model.folder, selected.task.name, model.step, value, rows)
    except StorageError as error:
        return [f"the results of {model.run} are not stored: {error}"]
    return []


def _uniquely_named(models: Sequence[Model]) -> Iterable[Model]:
    """Yield the models; those of runs with equal names get the name of the folder around before theirs."""
    names = [model.name for model in models]
    for model in models:
        name = model.name
        if names.count(name) > 1:
            name = f"{model.folder.resolve().parent.name}/{name}"
        yield dataclasses.replace(model, name=name)


def _pairs(
    models: Sequence[Model], tasks: Sequence[SelectedTask], scores: Mapping[str, Sequence[TaskScore]]
) -> list[TaskPair]:
    """Return the verdicts on every pair of models on every task."""
    compared = []
    for selected in tasks:
        name, clusters = selected.task.name, clusters_of(selected.items)
        sides = [
            Side(
                name=model.name,
                outcomes=score.judged.scores.outcomes(selected.task.style),
                above=score.judged.figures.standing == "above",
            )
            for model, score in zip(models, scores[name], strict=True)
        ]
        compared += [
            Compared(task=name, first=first, second=second, clusters=clusters)
            for first, second in combinations(sides, 2)
        ]
    return verdicts(compared)
