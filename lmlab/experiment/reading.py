"""Reading the records of runs: with their curves, or only what they came to.

A run that is still training has only the lines that it has written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.experiment.record import EvaluationPoint, Record
from lmlab.recipe import Recipe
from lmlab.runs import Run, lines_from_end, list_runs


def read_record(run: Run) -> Record:
    """Read `run`; LabError where one of its files is damaged."""
    return _read(run, _curve)


def read_outcome(run: Run) -> Record:
    """Read `run` as `read_record` does, for tables of many runs: without its curve where other files have its results.

    Then `evaluations` has at most the last one.
    """
    return _read(run, _outcome)


@dataclass(frozen=True, kw_only=True)
class _Course:
    evaluations: tuple[EvaluationPoint, ...] = ()
    step: int = 0
    tokens: int | None = 0
    tokens_per_second: float | None = None
    began: tuple[int, int] | None = (0, 0)


def _read(run: Run, course_of: Callable[[Run, Recipe | None, Mapping[str, Any] | None], _Course]) -> Record:
    try:
        recipe = run.recipe() if run.imported is None else None
        summary = run.summary()
        course = _Course(tokens=None) if run.model_from is not None else course_of(run, recipe, summary)
        return Record(
            run=run,
            status=run.status(),
            recipe=recipe,
            origin=run.origin(),
            policy=run.read("policy.json") if (run.folder / "policy.json").exists() else {},
            summary=summary,
            evaluations=course.evaluations,
            step=course.step,
            tokens=course.tokens,
            tokens_per_second=course.tokens_per_second,
            began=course.began,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(
            f"{run.name} has a damaged line or file ({type(error).__name__}: {error}): put it back from a copy"
        ) from None


def _curve(run: Run, recipe: Recipe | None, summary: Mapping[str, Any] | None) -> _Course:
    """Return the course from all lines of metrics."""
    evaluations, seconds, trained, step, tokens, number = [], 0.0, 0, 0, 0, 0
    energy: dict[int, float] = {}  # of each segment, up to its last evaluation
    reached: int | None = None  # tokens at the last line of training, or where the run began
    if recipe is None:
        return _imported_course(run.read_lines("metrics"))
    parent, began = run.origin().get("parent"), (0, 0)
    for place, line in enumerate(run.read_lines("metrics")):
        step, tokens = int(line["step"]), int(line["tokens"])
        if parent is not None and not place:
            began = _began(line, parent, recipe)
        if line["kind"] == "train":
            if reached is None:
                reached = max(0, tokens - recipe.train.log_every * recipe.train.batch * recipe.model.context)
            rate = line.get("tokens_per_second")
            if rate:
                seconds += (tokens - reached) / float(rate)
                trained += tokens - reached
            reached = tokens
        elif line["kind"] == "evaluation":
            if line.get("joules") is not None:
                energy[int(line["segment"])] = float(line["joules"])
            if line.get("valid_loss") is not None:
                reached = tokens if reached is None else reached
                evaluations.append(_evaluation(line, seconds, number, sum(energy.values()) if energy else None))
            number += 1
    rate = trained / seconds if seconds > 0 else None
    return _Course(evaluations=tuple(evaluations), step=step, tokens=tokens, tokens_per_second=rate, began=began)


def _began(first: Mapping[str, Any], parent: Mapping[str, Any], recipe: Recipe) -> tuple[int, int]:
    """Return the steps and tokens at which a branch of `parent` began to count, from its first line.

    That line is the evaluation of its initial model; where the parent's checkpoint lies between two evaluations it's a line of
    training, some steps into the parent's stream.
    """
    step, tokens = int(first["step"]), int(first["tokens"])
    if first["kind"] != "train":
        return step, tokens
    at = min(step, int(parent["step"]))
    return at, max(0, tokens - (step - at) * recipe.train.batch * recipe.model.context)


def _outcome(run: Run, recipe: Recipe | None, summary: Mapping[str, Any] | None) -> _Course:
    """Return the course from the summary, or for an imported run from its last lines; else from all lines."""
    if recipe is None:
        last = []
        for line in lines_from_end(run.folder / "metrics.jsonl"):
            last.append(line)
            if line["kind"] == "evaluation" and line.get("valid_loss") is not None:
                break
        return _imported_course(last[::-1])
    if summary is None:
        return _curve(run, recipe, summary)
    measured = (summary.get("score") or {}).get("tokens_per_second", {}).get("measured")
    parent = run.origin().get("parent")
    began: tuple[int, int] | None = (0, 0)
    if parent is not None:
        first = next(iter(run.read_lines("metrics", most=1)), None)
        began = None if first is None else _began(first, parent, recipe)
    return _Course(step=int(summary["steps"]), tokens=int(summary["tokens"]), tokens_per_second=measured, began=began)


def _imported_course(lines: Sequence[Mapping[str, Any]]) -> _Course:
    """Return the course of an imported log, whose seconds are its own, or unknown."""
    scored = [line for line in lines if line["kind"] == "evaluation" and line.get("valid_loss") is not None]
    evaluations = tuple(_evaluation(line, line.get("train_seconds"), place) for place, line in enumerate(scored))
    if not lines:
        return _Course(tokens=None)
    tokens, seconds = lines[-1].get("tokens"), lines[-1].get("train_seconds")
    rate = tokens / seconds if tokens and seconds else None
    return _Course(evaluations=evaluations, step=int(lines[-1]["step"]), tokens=tokens, tokens_per_second=rate)


def read_records(root: Path, read: Callable[[Run], Record] = read_record) -> tuple[list[Record], list[str]]:
    """Read all runs of a folder, by name, and return a line for each that can't be read.

    Pass `read_outcome` as `read` where curves aren't needed, which take most of the time in a folder of long runs.
    """
    records, problems = [], []
    for run in list_runs(root):
        try:
            records.append(read(run))
        except LabError as error:
            problems.append(f"{run.name}: {error}")
    return records, problems


def _evaluation(
    line: Mapping[str, Any], seconds: float | None, number: int, joules: float | None = None
) -> EvaluationPoint:
    names = ("train_loss", "valid_bits_per_byte", "tokens", "whole", "valid_accuracy")
    train, bits, tokens, whole, accuracy = (line.get(name) for name in names)
    return EvaluationPoint(
        step=int(line["step"]),
        tokens=None if tokens is None else int(tokens),
        train_seconds=seconds,
        valid_loss=float(line["valid_loss"]),
        train_loss=None if train is None else float(train),
        bits_per_byte=None if bits is None else float(bits),
        whole=None if whole is None else bool(whole),
        number=number,
        accuracy=None if accuracy is None else float(accuracy),
        joules=joules,
    )
