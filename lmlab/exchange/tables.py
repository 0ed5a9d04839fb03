"""Parsing of logs that are tables: a header line, then a line for each measurement.

Columns are separated by commas, semicolons, tabs or bars (a Markdown table), or aligned by spaces. Lines above the header, and rows
without a step number, are skipped.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lmlab import LabError
from lmlab.exchange.epochs import clock
from lmlab.exchange.log import LARGEST_STEP, Log, LogPoint, resolve_restarts

TABLE = "csv"
MOST_RUNS = 1000
MOST_ABOVE = 200
"""Number of lines in which the header is searched."""
SEPARATORS = ",;\t|"
COLUMNS = {
    "step": (
        "step",
        "steps",
        "global_step",
        "_step",
        "iter",
        "iters",
        "iteration",
        "iterations",
        "epoch",
        "epochs",
        "ep",
    ),
    "loss": (
        *("val_loss", "valid_loss", "validation_loss", "eval_loss", "val/loss", "valid/loss", "eval/loss", "dev_loss"),
        *("val", "valid", "validation"),
    ),
    "train": ("train_loss", "training_loss", "train/loss", "loss", "train", "training"),
    "perplexity": (
        *("val_ppl", "valid_ppl", "val_perplexity", "valid_perplexity", "validation_perplexity", "eval_ppl"),
        *("ppl", "perplexity"),
    ),
    "train_perplexity": ("train_ppl", "train_perplexity", "training_perplexity"),
    "accuracy": (
        *("val_acc", "valid_acc", "val_accuracy", "valid_accuracy", "validation_accuracy", "eval_accuracy"),
        *("acc", "accuracy"),
    ),
    "train_accuracy": ("train_acc", "train_accuracy", "training_accuracy"),
    "rate": ("lr", "learning_rate", "train/lr"),
    "norm": ("grad_norm", "gradient_norm", "train/grad_norm"),
    "seconds": ("elapsed_s", "elapsed_seconds", "elapsed", "seconds", "train_seconds", "_runtime"),
    "row_seconds": ("time", "time_s", "epoch_time", "epoch_seconds", "sec", "s"),
    "tokens": ("tokens", "tokens_seen"),
    "planned": ("total_steps", "max_steps", "total_iters", "total_epochs"),
    "run": ("run", "run_name", "run_id"),
}
"""Quantity -> names of its column, in lower case; the first one in the table is used."""


def read_table(lines: Sequence[str]) -> list[Log]:
    """Return the trainings in a table, by its column `run`, in the order of their first rows; without that column, one.

    Rows with a validation loss are evaluations. If no row has a training loss alone, the training loss in these rows is that of the
    evaluation; else it is that of the training batches. LabError if the table has no steps or no losses.
    """
    lines = [line for line in lines if line.strip()]
    plain = [line for line in lines if not line.startswith("#")]
    # The header may be a comment line, as in gnuplot's files.
    rows, names, places = _table(plain) or _table([line.removeprefix("#") for line in lines]) or ([], [], {})
    if not places:
        names = _names(next(iter(_split(plain[:1])), []))
        raise LabError(
            f"it is no table of a training: expected a column such as {COLUMNS['step'][0]}, and one such as "
            f"{COLUMNS['train'][0]} or {COLUMNS['loss'][0]}, got {', '.join(names)[:200] or 'nothing'}"
        )
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        cells = {what: row[place].strip() for what, place in places.items() if place < len(row)}
        groups.setdefault(cells.get("run", ""), []).append(cells)
    if len(groups) > MOST_RUNS:
        raise LabError(
            f"the table has {len(groups):,} runs: expected at most {MOST_RUNS:,}; is the column of runs one?"
        )
    logs = [_log(label, group, names[places["step"]]) for label, group in groups.items()]
    if not any(log.points for log in logs):
        raise LabError("the table has no row with a step and a loss: expected numbers in both columns")
    return [log for log in logs if log.points]


def _table(lines: Sequence[str]) -> tuple[list[list[str]], list[str], dict[str, int]] | None:
    """Return the rows below the header, the columns' names, and the indices of known columns; None if there is no such header."""
    for at, line in enumerate(lines[:MOST_ABOVE]):
        below = [len(row.split()) for row in lines[at + 1 : at + 1 + MOST_ABOVE]]
        header = max(_headers(line), key=lambda cells: (below.count(len(cells)), len(_places(_names(cells)))))
        places = _places(_names(header))
        if "step" in places and {"loss", "train", "perplexity"} & set(places):
            return _rows(lines[at + 1 :], line, header), _names(header), places
    return None


def _headers(line: str) -> list[list[str]]:
    """Return the ways to split a header line: names may contain single spaces if they are at least two spaces apart."""
    if any(sign in line for sign in SEPARATORS):
        return _split([line])
    return [re.split(r"\s{2,}", line.strip()), line.split()]


def _rows(lines: Sequence[str], header: str, names: Sequence[str]) -> list[list[str]]:
    """Return each line's cells, split in the same way as the line `header`."""
    if any(sign in header for sign in SEPARATORS):
        return _split([header, *lines])[1:]
    ends, at = [], 0
    for name in names:
        at = header.index(name, at) + len(name)
        ends.append(at)
    return [_aligned(line, [*ends], [*names]) for line in lines]


def _aligned(line: str, ends: Sequence[int], names: Sequence[str]) -> list[str]:
    """Return a line's cells by column; if it has fewer cells than names, each belongs to the name that it overlaps or is nearest.

    A row with one cell more than names begins with its index, which is dropped.
    """
    cells = [(match[0], match.start(), match.end()) for match in re.finditer(r"\S+", line)]
    if len(cells) in (len(names), len(names) + 1):
        return [cell for cell, *_ in cells[len(cells) - len(names) :]]
    found = [""] * len(names)
    for cell, start, end in cells:
        apart = [max(0, over - len(name) - end, start - over) for over, name in zip(ends, names, strict=True)]
        found[apart.index(min(apart))] = cell
    return found


def _split(lines: Sequence[str]) -> list[list[str]]:
    """Return each line's cells, split at the most frequent separator of the first line, or at spaces if it has none."""
    header = next(iter(lines), "")
    separator = max(SEPARATORS, key=header.count)
    if separator not in header:
        return [line.split() for line in lines]
    if separator == "|":
        lines = [line.strip().removeprefix("|").removesuffix("|") for line in lines]
    return list(csv.reader(lines, delimiter=separator))


def _names(header: Sequence[str]) -> list[str]:
    """Return normalised names of columns, in lower case with `_` between words: val_loss for `Val. Loss (nats)`."""
    plain = [re.sub(r"\s*[(\[].*?[)\]]", "", name).strip().lower().lstrip("\ufeff") for name in header]
    return [
        re.sub(r"[\s.-]+", "_", name).strip("_") if "/" not in name and not name.startswith("_") else name
        for name in plain
    ]


def _places(names: Sequence[str]) -> dict[str, int]:
    return {what: place for what, known in COLUMNS.items() if (place := _place(names, known)) is not None}


def _place(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _log(label: str, rows: Sequence[Mapping[str, str]], step_name: str) -> Log:
    measured = [(row, step) for row in rows if (step := _step(row)) is not None]
    alone = any(
        _loss(row, "loss", "perplexity") is None and _loss(row, "train", "train_perplexity") is not None
        for row, _ in measured
    )
    named = step_name in ("epoch", "epochs", "ep")
    steps = sorted({step for _, step in measured})
    # Some tables call steps epochs; they have only some of them, and never two in a row.
    epochs = named and (len(steps) < 2 or any(later - earlier == 1 for earlier, later in pairwise(steps)))
    measured = _timed(measured, epochs)
    found = [point for row, step in measured for point in _points(row, step, alone)]
    points, notes = resolve_restarts(found)
    planned = _whole(measured[-1][0], "planned") if measured else None
    if named and not epochs:
        notes.append(f"the column {step_name} is taken for steps: the table has no other")
    timed = any(point.seconds is not None for point in points)
    return Log(
        form=TABLE,
        points=points,
        label=label,
        clock="by the table" if timed else "",
        planned_steps=planned or None,
        epochs=epochs,
        notes=tuple(notes),
    )


def _timed(rows: Sequence[tuple[Mapping[str, str], int]], epochs: bool) -> list[tuple[Mapping[str, str], int]]:
    """Return the rows with cumulative `seconds`: if the column has each row's own time, whatever its name, it is summed.

    An epoch that the table leaves out is assumed to take as long as the next one in the table.
    """
    column = "seconds" if any("seconds" in row for row, _ in rows) else "row_seconds"
    times = [_number(row, column) for row, _ in rows]
    known = [(at, step) for at, (_, step) in zip(times, rows, strict=True) if at is not None]
    # Cumulative time increases from row to row; it may be reset where the training was restarted.
    if column == "seconds" and all(one[0] < two[0] or one[1] >= two[1] for one, two in pairwise(known)):
        return [*rows]
    running = clock(times)
    if epochs and running != times:
        before = [0, *(step for _, step in rows)]
        each = [
            None if at is None else at * max(1, step - last)
            for at, (_, step), last in zip(times, rows, before[:-1], strict=True)
        ]
        running, total = [], 0.0
        for at in each:
            total += at or 0.0
            running.append(None if at is None else total)
    return [
        ({**row, "seconds": "" if at is None else str(at)}, step) for (row, step), at in zip(rows, running, strict=True)
    ]


def _points(row: Mapping[str, str], step: int, alone: bool) -> list[LogPoint]:
    valid, train = _loss(row, "loss", "perplexity"), _loss(row, "train", "train_perplexity")
    seconds, tokens = _number(row, "seconds"), _whole(row, "tokens")
    found = []
    if train is not None and (alone or valid is None):
        rate, norm = _number(row, "rate"), _number(row, "norm")
        found.append(
            LogPoint(
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
        found.append(
            LogPoint(
                kind="evaluation",
                step=step,
                loss=valid,
                train_loss=scored,
                accuracy=_share(row, "accuracy"),
                train_accuracy=_share(row, "train_accuracy"),
                seconds=seconds,
                tokens=tokens,
            )
        )
    return found


def _loss(row: Mapping[str, str], what: str, perplexity: str) -> float | None:
    """Return the loss in nats a token, or if the row has none, the logarithm of its perplexity."""
    loss, other = _number(row, what), _number(row, perplexity)
    return math.log(other) if loss is None and other is not None and other > 0 else loss


def _share(row: Mapping[str, str], what: str) -> float | None:
    """Return a share, which may be written in percent."""
    value = _number(row, what)
    return round(value / 100, 12) if value is not None and ("%" in row.get(what, "") or value > 1) else value


def _step(row: Mapping[str, str]) -> int | None:
    return _whole(row, "step")


def _whole(row: Mapping[str, str], what: str) -> int | None:
    value = _number(row, what)
    return int(value) if value is not None and 0 <= value < LARGEST_STEP and value == int(value) else None


def _number(row: Mapping[str, str], what: str) -> float | None:
    """Return the number in a cell; None if it is empty or no number, NaN if it isn't finite."""
    try:
        value = float(row.get(what, "").removesuffix("%").removesuffix("s"))
    except ValueError:
        return None
    return value if math.isfinite(value) else math.nan
