"""`lmlab evaluate`: score models on a whole split, or on benchmark tasks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from lmlab.cli.arguments import only_settings, parse, runs_folder, split_overrides
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json, show_text
from lmlab.cli.progress import progress_for


@dataclass(frozen=True)
class Evaluate:
    """Score a run's model on a whole split: every token after the first is predicted once. With --tasks, score one or several
    models on benchmark tasks, with controls, and compare them.

    With --on, for a text with a split of its own (a catalogue corpus, files named train and valid, a prepared data set) the
    validation split is scored, and for any other text all of it. The part that the run was trained on is reported.
    """

    target: tyro.conf.Positional[tuple[str, ...]]
    """RUN, RUN@best (the default), RUN@latest, RUN@STEP or RUN@init; with --tasks several, or tag:TAG; with --on also hf:FOLDER, a
    local model of transformers."""
    on: str = ""
    """Another text (a catalogue name, a path, - or a data set's id), encoded with the run's tokenizer; default: the run's own data.
    --data.column, --data.separator and the like set how it is read, where that differs from the run's data."""
    split: Literal["", "train", "valid", "test", "all"] = ""
    """Which split, or all of the text; default: valid where the text comes with a split of its own, else all."""
    documents: bool = False
    """Score each document by itself: no token is predicted from an earlier document."""
    stride: int | None = None
    """Tokens from one window to the next, at most the context: a smaller one leaves each token more text before it, and takes
    longer; default: the context, so that windows don't overlap."""
    tasks: str = ""
    """Benchmark tasks by name, separated by commas, or all that have a file: blimp, hellaswag, lambada, arc-easy, arc-challenge,
    piqa, winogrande, winograd, copa, openbookqa, boolq, comps."""
    task_data: str = ""
    """With --tasks: the folder (or file) of their data, or hub:OWNER/NAME for a data set in the Hugging Face hub's local cache;
    default: the folder tasks in lmlab's cache. With --harness: a folder with task configurations of lm-evaluation-harness."""
    items: int | None = None
    """With --tasks or --harness: score so many items of each task; default: all. Of --tasks they are chosen by --seed."""
    seed: int = 1
    """With --items: which items are chosen."""
    corrupted: bool = True
    """With --tasks: score the items with corrupted prompts, too, as a control, which takes about as long again."""
    contamination: Literal["auto", "yes", "no"] = "auto"
    """With --tasks: look up the tasks' text in the run's training split; auto: if that is here and has at most 256 MB."""
    groups: bool = False
    """With --tasks: also print the accuracy of each group of items, such as BLiMP's 67 sets."""
    harness: str = ""
    """Score a model with lm-evaluation-harness on its tasks of these names, separated by commas (pip install "lmlab[harness]")."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    json: bool = False
    """The figures as JSON on standard output."""


FOR_TASKS = ("corrupted", "contamination", "groups", "seed")
FOR_EITHER = ("task_data", "items")


def run(arguments: list[str]) -> int:
    """Parse, evaluate, print; return the exit status."""
    words, reading = split_overrides(arguments)
    only_settings(reading, ("data",), "lmlab evaluate")
    flags = parse(Evaluate, words, "lmlab evaluate")
    _refuse_conflicts(flags, reading)
    if flags.tasks:
        return _tasks(flags)
    if flags.harness:
        return _harness(flags)
    return _split(flags, reading)


def _refuse_conflicts(flags: Evaluate, reading: dict[str, Any]) -> None:
    """Raise UsageError for flags that exclude or need each other."""
    if not flags.target:
        raise UsageError("lmlab evaluate needs a run: lmlab evaluate RUN")
    kinds = [name for name in ("tasks", "harness") if getattr(flags, name)]
    if len(kinds) > 1:
        raise UsageError("--tasks and --harness exclude each other: give one of them")
    windows = ["--documents"] * flags.documents + ["--stride"] * (flags.stride is not None)
    on_text = ["--on"] * bool(flags.on) + ["--split"] * bool(flags.split) + windows + [f"--{name}" for name in reading]
    if kinds and on_text:
        raise UsageError(f"--{kinds[0]} and {on_text[0]} exclude each other: a text is scored without --{kinds[0]}")
    needed = [] if flags.tasks else [*FOR_TASKS] if flags.harness else [*FOR_TASKS, *FOR_EITHER]
    for name in needed:
        if getattr(flags, name) != getattr(Evaluate, name):
            raise UsageError(f"--{name.replace('_', '-')} needs --tasks NAMES")
    if len(flags.target) > 1 and not flags.tasks:
        raise UsageError(
            "several runs need --tasks NAMES; their losses are compared by lmlab compare RUN RUN [--on TEXT]"
        )


def _tasks(flags: Evaluate) -> int:
    from lmlab.experiment.task_report import AskedTasks
    from lmlab.experiment.task_scores import evaluate_tasks
    from lmlab.report.tasks_table import tasks_parts

    asked = AskedTasks(
        tasks=_names(flags.tasks),
        place=flags.task_data,
        items=flags.items,
        seed=flags.seed,
        corrupted=flags.corrupted,
        contamination=flags.contamination,
        device=flags.device,
    )
    report = evaluate_tasks(flags.target, asked, runs_folder(flags.runs), progress_for(flags.json))
    for warning in report.warnings:
        show(warning, file=sys.stderr)
    if flags.json:
        show_json(report.to_json())
    else:
        show(*tasks_parts(report, groups=flags.groups))
    return 0


def _harness(flags: Evaluate) -> int:
    from lmlab.experiment.harness import run_harness

    found = run_harness(
        flags.target[0],
        _names(flags.harness),
        runs=runs_folder(flags.runs),
        device=flags.device,
        configurations=flags.task_data or None,
        items=flags.items,
    )
    for warning in found.warnings:
        show(warning, file=sys.stderr)
    if flags.json:
        show_json(found.to_json())
    else:
        show_text(found.table)
    return 0


def _names(text: str) -> tuple[str, ...]:
    """Return names separated by commas."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _split(flags: Evaluate, reading: dict[str, Any]) -> int:
    from lmlab.experiment.closing import figures_line
    from lmlab.experiment.duplicated import duplicates_line
    from lmlab.experiment.scoring import evaluate

    values = evaluate(
        flags.target[0],
        on=flags.on or None,
        split=flags.split or None,
        reading=reading,
        stride=flags.stride,
        alone=flags.documents,
        runs=runs_folder(flags.runs),
        device=flags.device,
        progress=progress_for(flags.json),
    )
    for warning in values["warnings"]:
        show(warning, file=sys.stderr)
    if flags.json:
        show_json(values)
    else:
        step = "" if values["step"] is None else f"@{values['step']}"
        show(figures_line(f"{values['run']}{step} on {values['scored']}", values))
        told = [values["trained_on_note"]] if values["trained_on_note"] else [duplicates_line(values)]
        show(*filter(None, told))
    return 0
