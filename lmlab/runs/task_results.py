"""tasks/NAME-step-00000250.json and .npy: the result of a benchmark task for the checkpoint of that step.

The JSON has figures and the outcome of each item, the .npy a row for each option of each item that could be scored:

    item i4 (its place in the task's data), option i2, gold u1 (whether it is the right one), greedy u1 (of the right one: whether
    each of its tokens was the likeliest), nats f8 (minus the log-probability), tokens i4 and bytes i4 (scored ones, and those of
    their text), answer_bytes i4 (of the answer without white space around it)

A later evaluation of the same task and step replaces both. The JSON is written last, and has the hash of the .npy.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.files import (
    DISK,
    Storage,
    is_link,
    make_folder,
    read_json,
    sha256_of_file,
    write_bytes,
    write_json,
)
from lmlab.files.arrays import map_rows, read_rows_header

FOLDER = "tasks"
FORMAT = 1
FILE = re.compile(r"([a-z0-9][a-z0-9-]{0,39})-step-(\d{8,12})\.json")
LARGEST_BYTES = 64 << 20
ROW = np.dtype(
    [
        ("item", "<i4"),
        ("option", "<i2"),
        ("gold", "|u1"),
        ("greedy", "|u1"),
        ("nats", "<f8"),
        ("tokens", "<i4"),
        ("bytes", "<i4"),
        ("answer_bytes", "<i4"),
    ]
)
OUTCOMES = re.compile(r"[01=?]*")


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskResult:
    """A stored result."""

    task: str
    step: int
    value: dict[str, Any]
    """The JSON: docs/formats.md has its keys."""
    rows: np.ndarray
    """ROW [options]."""

    @property
    def outcomes(self) -> str:
        """The outcome of each scored item in the primary style: 1 right, 0 wrong, = a tie, ? unscorable."""
        found: str = self.value["outcomes"][self.value["style"]]
        return found


def write_task_result(
    folder: Path, task: str, step: int, value: dict[str, Any], rows: np.ndarray, storage: Storage = DISK
) -> None:
    """Write a result into the folder of a run. LabError if `tasks` in it is a link; StorageError if the disk refuses."""
    place = folder / FOLDER
    if is_link(place):
        raise LabError(f"{place} is a link: expected the run's own folder; put what it points to in its place")
    make_folder(place)
    content = io.BytesIO()
    np.save(content, rows.astype(ROW), allow_pickle=False)
    name = f"{task}-step-{step:08d}"
    write_bytes(place / f"{name}.npy", content.getvalue(), storage)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    write_json(
        place / f"{name}.json", {"format": FORMAT, "task": task, "step": step, "rows_sha256": digest, **value}, storage
    )


def list_task_results(folder: Path) -> list[tuple[str, int]]:
    """Return (task, step) of each result of the run in `folder`, sorted; [] if it has none."""
    place = folder / FOLDER
    found = (FILE.fullmatch(entry.name) for entry in place.iterdir()) if place.is_dir() else ()
    return sorted((match[1], int(match[2])) for match in found if match)


def read_task_result(folder: Path, task: str, step: int) -> TaskResult:
    """Return a result of the run in `folder`; LabError if it is missing, damaged or of another format."""
    if (task, step) not in list_task_results(folder):
        raise LabError(
            f"{folder.name} has no result of {task} at step {step:,}: lmlab evaluate {folder.name} --tasks {task}"
        )
    path = folder / FOLDER / f"{task}-step-{step:08d}.json"
    value = read_json(path, LARGEST_BYTES)
    again = f"lmlab evaluate {folder.name}@{step} --tasks {task} writes it again"
    if not isinstance(value, dict):
        raise LabError(f"{path} is damaged: expected a JSON object; {again}")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    if problem := _problem(value, task, step):
        raise LabError(f"{path} is damaged: expected {problem}; {again}")
    rows = path.with_suffix(".npy")
    header = read_rows_header(rows)
    if not header.holds(ROW) or sha256_of_file(rows) != value["rows_sha256"]:
        raise LabError(f"{rows} is damaged, or isn't the one of {path.name}; {again}")
    return TaskResult(task=task, step=step, value=value, rows=np.array(map_rows(rows, header, ROW)))


def _problem(value: dict[str, Any], task: str, step: int) -> str:
    """Return what is wrong with a result's JSON, as what was expected; empty if nothing."""
    if value.get("task") != task or value.get("step") != step:
        return f"the result of {task} at step {step}"
    for name in ("rows_sha256", "data_sha256"):
        if not isinstance(value.get(name), str):
            return f"its {name}"
    outcomes = value.get("outcomes")
    if not isinstance(outcomes, dict) or not all(
        isinstance(text, str) and OUTCOMES.fullmatch(text) for text in outcomes.values()
    ):
        return "the outcomes of each style, as 1, 0, = and ?"
    if not isinstance(value.get("style"), str) or value["style"] not in outcomes:
        return "a primary style that has outcomes"
    count = len(outcomes[value["style"]])
    for name in ("selected", "clusters"):
        numbers = value.get(name)
        if numbers is not None and not (
            isinstance(numbers, list)
            and len(numbers) == count
            and all(type(one) is int and 0 <= one < 1 << 31 for one in numbers)
        ):
            return f"{name} as {count} whole numbers"
    return "" if isinstance(value.get("standing"), str) else "its standing"
