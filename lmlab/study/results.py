"""One table of results over runs and models: own loss, loss on a common text, perplexity, bits per byte, accuracy, and tasks.

Each figure is read from the run's folder, or scored now where a text is given; nothing is averaged or ranked here. A row is a
checkpoint, or a local model of transformers, which has no folder and hence no own loss and no tasks.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.experiment.at_checkpoint import record_at
from lmlab.experiment.judging import checkpoint_in
from lmlab.experiment.models_of_others import is_foreign
from lmlab.experiment.record import LARGEST_EXPONENT
from lmlab.experiment.scoring import Scored, score
from lmlab.model.cost import parameters
from lmlab.runs import Run, open_run
from lmlab.runs.measures import list_measures, read_measures
from lmlab.runs.task_results import list_task_results, read_task_result
from lmlab.runs.text_scores import read_text_score, write_text_score
from lmlab.runs.units import unit_type
from lmlab.stats import ratio_interval

KIND = "results"
FORMAT = 1
MOST_ROWS = 64
RIGHT = "1"


@dataclass(frozen=True, kw_only=True)
class TextFigures:
    """A model's figures on a text."""

    loss: float
    """Nats a token of its own tokenizer."""
    perplexity: float
    bits_per_byte: float | None
    """None where its tokenizer loses text."""
    interval: tuple[float, float] | None
    """95% interval of the bits per byte over units, or of the loss where they are None."""
    accuracy: float
    tokens: int
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class TaskFigure:
    """A model's accuracy on a benchmark task, in the task's primary style."""

    accuracy: float
    low: float
    high: float
    items: int
    of_items: int
    standing: str
    """above, at chance, ...: see `lmlab.evaluation.tasks`."""
    data_sha256: str


@dataclass(frozen=True, kw_only=True)
class ResultsRow:
    """One model."""

    name: str
    id: str | None
    """The run's; None for a model that isn't a run."""
    step: int | None
    parameters: int
    tokens: int | None
    """Tokens trained on; None where unknown."""
    own: Mapping[str, Any] | None
    """loss, bits_per_byte and accuracy on the run's own validation split; None where unknown."""
    text: TextFigures | None
    text_id: str | None
    """The id of the data set that the text became with its tokenizer."""
    tasks: Mapping[str, TaskFigure] = field(default_factory=dict)
    measures: Mapping[str, Any] | None = None
    """Stored figures of its texts, name -> [estimate, low, high], and what was `asked`; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class ResultsTable:
    """The rows, and what their columns are about."""

    rows: tuple[ResultsRow, ...]
    on: str
    """The common text as it was named; empty where there is none."""
    split: str
    """Its split that was scored."""
    notes: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that any row has, sorted."""
        return tuple(sorted({name for row in self.rows for name in row.tasks}))

    @property
    def measures(self) -> tuple[str, ...]:
        """The figures of texts that any row has, in the order of the first one."""
        return tuple(dict.fromkeys(name for row in self.rows if row.measures for name in row.measures["figures"]))

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json, which `lmlab verify` checks."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        facts = {"format": FORMAT, "kind": KIND, "on": self.on or None, "split": self.split or None}
        return {**facts, "rows": rows, "notes": list(self.notes)}


def results(
    references: Sequence[str],
    runs: Path,
    *,
    on: str = "",
    split: str = "",
    reading: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> ResultsTable:
    """Return the table of these runs (RUN, RUN@WHICH; default: the best checkpoint) and models (hf:FOLDER).

    With `on` each is scored on that text, and the score is stored in its run's folder. LabError where a model isn't there, or the
    text doesn't fit it.
    """
    if not 1 <= len(references) <= MOST_ROWS:
        raise LabError(f"a table of results has 1 to {MOST_ROWS} models: got {len(references)}")
    rows, notes, parts = [], [], []
    for reference in references:
        scored = None
        if on:
            scored = _scored(reference, on, split, reading, runs, device, progress)
            parts.append(scored.part.split)
            notes += [*scored.warnings, *filter(None, (scored.seen_line(),))]
        elif is_foreign(reference):
            raise LabError(f"{reference} is no run and has only what it scores on a text: add --on TEXT")
        rows.append(_row(reference, runs, scored, device, progress))
    return ResultsTable(
        rows=tuple(rows),
        on=on,
        split=parts[0] if parts else "",
        notes=tuple(dict.fromkeys([*notes, *_task_notes(rows), *_measure_notes(rows)])),
    )


def task_figure(run: Run, task: str, step: int) -> TaskFigure:
    """Return a stored result's figure. Its accuracy is counted from the outcomes of the items; ties aren't right."""
    found = read_task_result(run.folder, task, step)
    style = found.value["styles"][found.value["style"]]
    scored = [one for one in found.outcomes if one != "?"]
    return TaskFigure(
        accuracy=scored.count(RIGHT) / len(scored) if scored else math.nan,
        low=style["low"],
        high=style["high"],
        items=len(scored),
        of_items=found.value["items"],
        standing=found.value["standing"],
        data_sha256=found.value["data_sha256"],
    )


def measured_figures(run: Run, step: int) -> dict[str, Any] | None:
    """Return the stored figures of a checkpoint's texts, those of real text, and what was asked; None where there are none."""
    if step not in list_measures(run.folder):
        return None
    found = read_measures(run.folder, step)
    return {name: found[name] for name in ("asked", "figures", "real")}


def stored_text_figures(run: Run, text: str, split: str, step: int) -> TextFigures:
    """Return the figures of a stored score, computed from its units. LabError where there is none."""
    found = read_text_score(run.folder, text, split, step)
    units, value = found.units, found.value
    return text_figures(units["bits"][:, 0], units["tokens"], value["bytes"], value["accuracy"])


def own_figures(run: Run, step: int, device: str = "auto", progress: Progress | None = None) -> dict[str, Any] | None:
    """Return loss, bits per byte and accuracy of a checkpoint on its run's whole validation split; None for an imported model."""
    if run.model_from is not None:
        return None
    record = record_at(run, str(step), device, progress)
    final = (record.summary or {}).get("final") or {}
    return {name: final.get(name) for name in ("loss", "bits_per_byte", "accuracy")}


def text_figures(bits: np.ndarray, tokens: np.ndarray, size: int | None, accuracy: float) -> TextFigures:
    """Return the figures from each unit's bits and tokens, float64 and int64 [units]; `size` is the bytes of the text."""
    nats = bits * math.log(2.0)
    loss = float(nats.sum()) / int(tokens.sum())
    per_byte = float(bits.sum()) / size if size else None
    interval = ratio_interval(nats, tokens) if len(bits) > 1 else None
    scale = 1.0 if per_byte is None else per_byte / loss
    return TextFigures(
        loss=loss,
        perplexity=math.exp(loss) if loss <= LARGEST_EXPONENT else math.inf,
        bits_per_byte=per_byte,
        interval=None if interval is None else (interval.low * scale, interval.high * scale),
        accuracy=accuracy,
        tokens=int(tokens.sum()),
        bytes=size,
    )


def _scored(
    reference: str,
    on: str,
    split: str,
    reading: Mapping[str, Any] | None,
    runs: Path,
    device: str,
    progress: Progress | None,
) -> Scored:
    """Return a model's scores on the text; a LabError names the model."""
    try:
        return score(
            reference, on=on, split=split or None, reading=reading, runs=runs, device=device, progress=progress
        )
    except LabError as error:
        raise LabError(f"{reference}: {error}") from None


def _row(reference: str, runs: Path, scored: Scored | None, device: str, progress: Progress | None) -> ResultsRow:
    text = None if scored is None else _text(scored)
    if is_foreign(reference):
        assert scored is not None
        return ResultsRow(
            name=reference,
            id=None,
            step=None,
            parameters=scored.parameters,
            tokens=None,
            own=None,
            text=text,
            text_id=scored.part.dataset.id,
        )
    run, which = open_run(reference, runs)
    step = checkpoint_in(run, which or "best")[0].step
    if scored is not None:
        _store(run, step, scored)
    recipe = run.recipe()
    stored = [task for task, at in list_task_results(run.folder) if at == step]
    own = own_figures(run, step, device, progress)
    return ResultsRow(
        name=f"{run.name}@{step}",
        id=run.id,
        step=step,
        parameters=parameters(recipe.model, run.fact("vocabulary_size"))["total"],
        tokens=None if own is None else step * recipe.train.batch * recipe.model.context,
        own=own,
        text=text,
        text_id=None if scored is None else scored.part.dataset.id,
        tasks={task: task_figure(run, task, step) for task in stored},
        measures=measured_figures(run, step),
    )


def _text(scored: Scored) -> TextFigures:
    found = scored.evaluation
    return text_figures(found.bits_per_unit, found.tokens_per_unit, found.bytes, found.accuracy)


def _store(run: Run, step: int, scored: Scored) -> None:
    found, part = scored.evaluation, scored.part
    rows = part.dataset.units(part.split)
    units = np.empty(len(rows), unit_type(1))
    units["key"], units["bytes"], units["tokens"] = rows["key"], rows["bytes"], found.tokens_per_unit
    units["bits"][:, 0] = found.bits_per_unit
    value = {"id": run.id, "precision": scored.precision, "device": scored.device.type, **found.figures()}
    del value["split"]
    write_text_score(run.folder, part.dataset.id, part.split, step, value, units)


def _task_notes(rows: Sequence[ResultsRow]) -> list[str]:
    """Return a line for each task whose figures are of different items, and hence can't be compared."""
    notes = []
    for task in sorted({name for row in rows for name in row.tasks}):
        found = [row.tasks[task] for row in rows if task in row.tasks]
        if len({(one.data_sha256, one.items) for one in found}) > 1:
            notes.append(f"{task}: the figures are of different items, and can't be compared with each other")
        lacking = [row.name for row in rows if task not in row.tasks and row.id is not None]
        if lacking:
            notes.append(f"{task}: not scored for {', '.join(lacking)} (lmlab evaluate RUN --tasks {task})")
    return notes


def _measure_notes(rows: Sequence[ResultsRow]) -> list[str]:
    """Return a line where figures of texts are of different prompts, sampling or reference, and one for runs without them."""
    measured = [row for row in rows if row.measures is not None]
    if not measured:
        return []
    notes = []
    if len({json.dumps(row.measures["asked"], sort_keys=True) for row in measured if row.measures}) > 1:
        notes.append(
            "measures: the texts have other prompts, sampling or reference, and can't be compared with each other"
        )
    lacking = [row.name for row in rows if row.measures is None and row.id is not None]
    if lacking:
        notes.append(f"measures: none of {', '.join(lacking)} (lmlab sample RUN --measure)")
    return notes
