"""Stored results of benchmark tasks, compared: for runs that were scored on the same items of the same data.

Nothing is scored here: `lmlab evaluate RUN RUN --tasks` does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from lmlab import LabError
from lmlab.evaluation.tasks.outcomes import read_outcomes
from lmlab.evaluation.tasks.pairs import Compared, Side, TaskPair, verdicts
from lmlab.experiment.record import Record
from lmlab.runs.task_results import TaskResult, list_task_results, read_task_result


def stored_task_pairs(named: Mapping[str, Record]) -> tuple[list[TaskPair], list[str]]:
    """Return the verdict on each pair of runs and task that both have a result of, and a line for each damaged result.

    Of a run that is read at a checkpoint its results at that step count, of others those at the last step that has some.
    """
    results: dict[str, dict[str, TaskResult]] = {}
    problems = []
    for name, record in named.items():
        results[name] = {}
        for task, step in list_task_results(record.run.folder):
            if record.checkpoint is not None and step != record.checkpoint:
                continue
            try:
                results[name][task] = read_task_result(record.run.folder, task, step)
            except LabError as error:
                problems.append(f"left out: {error}")
    compared = []
    for first, second in combinations(named, 2):
        for task in results[first]:
            other = results[second].get(task)
            if other is not None and (found := _compared(first, results[first][task], second, other)):
                compared.append(found)
    return verdicts(compared), problems


def _compared(first: str, one: TaskResult, second: str, other: TaskResult) -> Compared | None:
    """Return the comparison over the items that both results have; None if they are of other data, or have none in common."""
    if (one.value["data_sha256"], one.value["style"]) != (other.value["data_sha256"], other.value["style"]):
        return None
    _, here, there = np.intersect1d(_places(one), _places(other), return_indices=True)
    if not len(here):
        return None
    clusters = one.value.get("clusters")
    return Compared(
        task=one.task,
        first=_side(f"{first}@{one.step}", one, here),
        second=_side(f"{second}@{other.step}", other, there),
        clusters=None if clusters is None else np.array(clusters, dtype=np.int64)[here],
    )


def _places(result: TaskResult) -> np.ndarray:
    """Return the places of the result's items in the task's data."""
    selected = result.value.get("selected")
    return np.arange(len(result.outcomes)) if selected is None else np.array(selected, dtype=np.int64)


def _side(name: str, result: TaskResult, chosen: np.ndarray) -> Side:
    above = result.value["standing"] == "above"
    return Side(name=name, outcomes=read_outcomes(result.outcomes)[chosen], above=above)
