"""Tables of what was evaluated after a run's training: benchmark tasks, other texts, measures of its own texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmlab import LabError
from lmlab.experiment.evaluations import evaluation_rows
from lmlab.experiment.overview import Overview
from lmlab.experiment.record import Record
from lmlab.files import read_json
from lmlab.report.measure_names import NAMES, shown
from lmlab.report.page.values import Table, number
from lmlab.runs import Run
from lmlab.runs.task_results import list_task_results, read_task_result
from lmlab.runs.text_scores import FILE as TEXT_FILE
from lmlab.runs.text_scores import FOLDER as TEXTS


def evaluation_table(name: str, record: Record) -> Table | None:
    """Return a row for each evaluation of the training; None without any."""
    rows = [
        (
            number(row["step"]),
            number(row["tokens"]),
            number(row["train_loss"]),
            number(row["valid_loss"]),
            number(row["perplexity"]) if row["perplexity"] is None else f"{row['perplexity']:,.2f}",
            "-" if row["accuracy"] is None else f"{row['accuracy']:.1%}",
            number(row["bits_per_byte"]),
            number(None if row["seconds"] is None else float(row["seconds"])),
            {True: "whole split", False: "sample", None: "unknown"}[row["scored"]] + (", best" if row["best"] else ""),
        )
        for row in evaluation_rows(record)
    ]
    headings = (
        *(
            "step",
            "tokens",
            "training loss (nats per token)",
            "validation loss (nats per token)",
            "perplexity",
            "accuracy",
        ),
        *("bits per byte", "training time (s)", "scored on"),
    )
    caption = f"Evaluations ({name}/metrics.jsonl; whole split: {name}/summary.json)"
    return Table(caption=caption, headings=headings, rows=tuple(rows), numbers=tuple(range(8))) if rows else None


def stored_tables(name: str, run: Run, found: Overview, last: int | None, problems: list[str]) -> tuple[Table, ...]:
    """Return the tables that the run has results for, up to step `last` if any; a damaged result is told in `problems`."""
    tables = (_tasks(name, run, last, problems), _texts(name, run, last, problems), _measures(name, found))
    return tuple(table for table in tables if table is not None)


def _tasks(name: str, run: Run, last: int | None, problems: list[str]) -> Table | None:
    rows = []
    for task, step in list_task_results(run.folder):
        if last is not None and step > last:
            continue
        try:
            value = read_task_result(run.folder, task, step).value
        except LabError as error:
            problems.append(str(error))
            continue
        main: Mapping[str, Any] = value.get("styles", {}).get(value["style"]) or {}
        limits = (main.get("low"), main.get("high"))
        interval = "-" if None in limits else f"{limits[0]:.3f} to {limits[1]:.3f}"
        items = main.get("items")
        rows.append(
            (
                task,
                number(step),
                number(main.get("accuracy"), 3),
                interval,
                number(value.get("chance"), 3),
                str(value["standing"]),
                number(items),
                value["style"],
                f"{name}/tasks/{task}-step-{step:08d}.json",
            )
        )
    headings = ("task", "step", "accuracy (share)", "95%", "chance (share)", "standing", "items", "style", "file")
    return (
        Table(caption="Benchmark tasks", headings=headings, rows=tuple(rows), numbers=(1, 2, 3, 4, 6)) if rows else None
    )


def _texts(name: str, run: Run, last: int | None, problems: list[str]) -> Table | None:
    folder, rows = run.folder / TEXTS, []
    files = sorted(path for path in folder.iterdir() if TEXT_FILE.fullmatch(path.name)) if folder.is_dir() else []
    for path in files:
        try:
            value = read_json(path, 1 << 20)
            if last is not None and value["step"] > last:
                continue
            rows.append(
                (
                    re.sub(r"-step-.*", "", path.stem),
                    number(int(value["step"])),
                    number(float(value["loss"])),
                    f"{value['perplexity']:,.2f}",
                    number(value["bits_per_byte"]),
                    f"{value['accuracy']:.1%}",
                    number(int(value["tokens"])),
                    f"{name}/{TEXTS}/{path.name}",
                )
            )
        except (LabError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{path} is damaged ({error}): score the text again with lmlab evaluate --on")
    headings = ("text", "step", "loss (nats per token)", "perplexity", "bits per byte", "accuracy", "tokens", "file")
    return (
        Table(caption="Other texts", headings=headings, rows=tuple(rows), numbers=(1, 2, 3, 4, 5, 6)) if rows else None
    )


def _measures(name: str, found: Overview) -> Table | None:
    rows = []
    for value in found.measures:
        for key, limits in value["figures"].items():
            real = (value.get("real") or {}).get(key)
            rows.append(
                (
                    NAMES.get(key, key),
                    number(value["step"]),
                    shown(key, limits),
                    "-" if real is None else shown(key, real),
                    f"{name}/measures/step-{value['step']:08d}.json: {key}",
                )
            )
    headings = ("measure", "step", "the model's texts (95%)", "real text (95%)", "file")
    return (
        Table(caption="Measures of generated texts", headings=headings, rows=tuple(rows), numbers=(1, 2, 3))
        if rows
        else None
    )
