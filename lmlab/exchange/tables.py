"""A log that is a table: a line of names, then a line for each measurement, with commas, semicolons or tabs between."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence

from lmlab import LabError
from lmlab.exchange.log import LARGEST_STEP, Log, Point, settled

TABLE = "csv"
MOST_RUNS = 1000
COLUMNS = {
    "step": ("step", "steps", "global_step", "_step", "iter", "iters", "iteration", "epoch"),
    "loss": ("val_loss", "valid_loss", "validation_loss", "eval_loss", "val/loss", "valid/loss", "eval/loss"),
    "train": ("train_loss", "training_loss", "train/loss", "loss"),
    "rate": ("lr", "learning_rate", "train/lr"),
    "norm": ("grad_norm", "gradient_norm", "train/grad_norm"),
    "seconds": ("elapsed_s", "elapsed_seconds", "elapsed", "seconds", "train_seconds", "_runtime"),
    "tokens": ("tokens", "tokens_seen"),
    "planned": ("total_steps", "max_steps", "total_iters", "total_epochs"),
    "run": ("run", "run_name", "run_id"),
}
"""What is looked for, and the names that it goes by, in lower case; the first that there is counts."""


def read_table(lines: Sequence[str]) -> list[Log]:
    """The trainings in a table, by its column `run` in the order of their first rows; one where it has no such column.

    Rows with a validation loss are evaluations. Where every such row has a training loss and no row has one alone, that loss is
    of the evaluation; else it is of the training batches. LabError where the table has no steps or no losses.
    """
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    separator = max(",;\t", key=lambda sign: lines[0].count(sign)) if lines else ","
    rows = list(csv.reader(lines, delimiter=separator))
    names = [name.strip().lower().lstrip("\ufeff") for name in rows[0]] if rows else []
    places = {what: place for what, known in COLUMNS.items() if (place := _place(names, known)) is not None}
    if "step" not in places or not {"loss", "train"} & set(places):
        raise LabError(
            f"it is no table of a training: expected a column such as {COLUMNS['step'][0]}, and one such as "
            f"{COLUMNS['train'][0]} or {COLUMNS['loss'][0]}, got {', '.join(names)[:200] or 'nothing'}"
        )
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows[1:]:
        cells = {what: row[place].strip() for what, place in places.items() if place < len(row)}
        groups.setdefault(cells.get("run", ""), []).append(cells)
    if len(groups) > MOST_RUNS:
        raise LabError(
            f"the table has {len(groups):,} runs: expected at most {MOST_RUNS:,}; is the column of runs one?"
        )
    logs = [_log(label, group, names[places["step"]]) for label, group in groups.items()]
    if not any(log.points for log in logs):
        raise LabError("the table has no row with a step and a loss")
    return [log for log in logs if log.points]


def _place(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _log(label: str, rows: Sequence[Mapping[str, str]], step_name: str) -> Log:
    measured = [(row, step) for row in rows if (step := _step(row)) is not None]
    alone = any(_number(row, "loss") is None and _number(row, "train") is not None for row, _ in measured)
    found = [point for row, step in measured for point in _points(row, step, alone)]
    points, notes = settled(found)
    planned = _whole(measured[-1][0], "planned") if measured else None
    if step_name == "epoch":
        notes.append("the column epoch is taken for steps: the table has no other")
    timed = any(point.seconds is not None for point in points)
    return Log(
        form=TABLE,
        points=points,
        label=label,
        clock="by the table" if timed else "",
        planned_steps=planned or None,
        notes=tuple(notes),
    )


def _points(row: Mapping[str, str], step: int, alone: bool) -> list[Point]:
    valid, train = _number(row, "loss"), _number(row, "train")
    seconds, tokens = _number(row, "seconds"), _whole(row, "tokens")
    found = []
    if train is not None and (alone or valid is None):
        rate, norm = _number(row, "rate"), _number(row, "norm")
        found.append(
            Point(
                kind="train",
                step=step,
                loss=train,
                learning_rate=rate,
                gradient_norm=norm,
                seconds=seconds,
                tokens=tokens,
            )
        )
    if valid is not None:
        scored = None if alone else train
        found.append(Point(kind="evaluation", step=step, loss=valid, train_loss=scored, seconds=seconds, tokens=tokens))
    return found


def _step(row: Mapping[str, str]) -> int | None:
    return _whole(row, "step")


def _whole(row: Mapping[str, str], what: str) -> int | None:
    value = _number(row, what)
    return int(value) if value is not None and 0 <= value < LARGEST_STEP and value == int(value) else None


def _number(row: Mapping[str, str], what: str) -> float | None:
    """The number in a cell; None where it is empty or no number, NaN where it says so."""
    try:
        value = float(row.get(what, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else math.nan
