"""Reading runs into a `Page`: everything that a report shows, from the files in their folders."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmlab import LabError, __version__
from lmlab.experiment.overview import Overview, overview_of
from lmlab.experiment.record import Record
from lmlab.recipe.quantities import count, duration
from lmlab.report.events import event_lines
from lmlab.report.page.cards import cards_of
from lmlab.report.page.charts import charts_of
from lmlab.report.page.compared import compared_of
from lmlab.report.page.courses import Course, course_of
from lmlab.report.page.held import held_of
from lmlab.report.page.seeds import group_name, groups_of
from lmlab.report.page.stored import evaluation_table, stored_tables
from lmlab.report.page.values import Page, RunPart, Sample, Table, number, thinned
from lmlab.report.reading import curves_of, record_of
from lmlab.runs import Run
from lmlab.runs.run import RECIPE

MOST_RUNS = 16
MOST_SAMPLES = 60
"""Samples of one run: the first, the last and evenly those between."""
MOST_EVENTS = 60
MOST_EVALUATIONS = 600
"""Rows of all tables of evaluations together, where there are many runs."""
LARGEST_RECIPE = 64_000

DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What values of other types than lmlab writes lead to."""

Say = Callable[[str], None]


def page_of(named: Sequence[tuple[Run, str | None]], command: str, say: Say = lambda line: None) -> Page:
    """Return the report of the named runs, each with the checkpoint at which it ends or None.

    `command` is the command line that the report is made by; `say` is told what is being read, and what can't be. LabError where
    there are too many runs, or one has no losses or can't be read.
    """
    if not 1 <= len(named) <= MOST_RUNS:
        raise LabError(f"one report holds 1 to {MOST_RUNS} runs, got {len(named)}: name fewer")
    try:
        courses = []
        for place, (run, which) in enumerate(named, 1):
            say(f"reading {run.name} ({place} of {len(named)})")
            courses.append(_course(run, which))
        return _page(_uniquely_named(courses), command, say)
    except DAMAGED as error:
        names = ", ".join(run.name for run, _ in named)
        raise LabError(
            f"a file of {names} is damaged ({type(error).__name__}: {error}): put it back from a copy, or leave that run out"
        ) from None


def _page(courses: Sequence[Course], command: str, say: Say) -> Page:
    groups = groups_of(courses)
    names = [group_name([courses[place] for place in members]) for members in groups]
    group = {place: number for number, members in enumerate(groups) for place in members}
    rows = max(12, MOST_EVALUATIONS // len(courses))
    parts = tuple(_read_part(course, group[place], rows) for place, course in enumerate(courses))
    return Page(
        title=courses[0].name
        if len(courses) == 1
        else f"{', '.join(names[:3])}{'' if len(names) < 4 else ' and more'}",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        command=command,
        groups=tuple(names),
        overview=_overview(courses),
        charts=charts_of(courses, groups, names),
        runs=parts,
        compared=compared_of(courses, groups, say),
    )


def _course(run: Run, which: str | None) -> Course:
    curves = curves_of(run, which)
    if curves.is_empty():
        raise LabError(f"run {run.name} has no losses yet: wait for its first line of metrics, or leave it out")
    return course_of(curves.name, record_of(run, which), curves, run.read_lines("metrics"), which is not None)


def _uniquely_named(courses: Sequence[Course]) -> list[Course]:
    """Return the courses with the folder before a name that occurs twice."""
    names = [course.name for course in courses]
    return [
        course
        if names.count(course.name) == 1
        else replace(course, name=f"{course.record.run.folder.resolve().parent.name}/{course.name}")
        for course in courses
    ]


def _overview(courses: Sequence[Course]) -> Table:
    rows = []
    for course in courses:
        record, best = course.record, course.curves.best()
        total = (record.parameters or {}).get("total")
        rows.append(
            (
                course.name,
                record.status,
                "-" if total is None else count(total),
                number(record.seed),
                number(record.step),
                "-" if record.tokens is None else count(record.tokens),
                "-" if best is None else number(best.loss),
                "-" if best is None else number(best.step),
                "-" if record.train_seconds is None else duration(record.train_seconds),
                number(record.tokens_per_second, 0),
            )
        )
    headings = (
        *("run", "state", "parameters", "seed", "steps", "tokens", "best validation loss (nats per token)", "at step"),
        *("training time", "tokens/s"),
    )
    caption = "Runs (metrics.jsonl and, once a run has ended, summary.json of each)"
    return Table(caption=caption, headings=headings, rows=tuple(rows), numbers=tuple(range(2, 10)))


def _read_part(course: Course, group: int, rows: int) -> RunPart:
    try:
        return _part(course, group, rows)
    except DAMAGED as error:
        raise LabError(
            f"{course.name} has a damaged file ({type(error).__name__}: {error}): put it back from a copy, or leave the run out"
        ) from None


def _part(course: Course, group: int, rows: int) -> RunPart:
    run, name, record = course.record.run, course.name, course.record
    found = _up_to(overview_of(run), course)
    problems = list(found.problems)
    code = found.origin.get("code")
    samples = _samples(run, record, problems)
    evaluations = evaluation_table(name, record)
    tables = stored_tables(name, run, found, record.step if course.cut else None, problems)
    return RunPart(
        name=name,
        group=group,
        status=record.status,
        folder=run.folder.resolve().name,
        about="" if found.recipe is None else found.recipe.about,
        note=found.note,
        tags=() if found.row is None else found.row.tags,
        cards=cards_of(name, found, record),
        held=held_of(name, found, _forecast(run, problems)),
        evaluations=None if evaluations is None else thinned(evaluations, rows),
        tables=tables,
        events=tuple(event_lines(run, [dict(line) for line in found.events[-MOST_EVENTS:]])),
        samples=samples,
        samples_source=f"{name}/samples.jsonl",
        command=_command(found),
        commit=str(code.get("commit") or "") if isinstance(code, Mapping) else "",
        recipe="" if found.recipe is None else _recipe(run),
        problems=tuple(problems),
    )


def _up_to(found: Overview, course: Course) -> Overview:
    """Return what is known of a run without what came after the step at which its course ends."""
    if not course.cut:
        return found
    step = course.record.step
    return replace(
        found,
        summary=course.record.summary,
        events=tuple(line for line in found.events if line["step"] <= step),
        measures=tuple(value for value in found.measures if value["step"] <= step),
    )


def _forecast(run: Run, problems: list[str]) -> Mapping[str, Any]:
    if not (run.folder / "forecast.json").exists():
        return {}
    try:
        value = run.read("forecast.json")
    except LabError as error:
        problems.append(str(error))
        return {}
    return value if isinstance(value, dict) else {}


def _samples(run: Run, record: Record, problems: list[str]) -> tuple[Sample, ...]:
    found = []
    try:
        for line in run.read_lines("samples"):
            step, tokens = line.get("step"), line.get("tokens")
            if isinstance(step, int) and step <= record.step:
                known = tokens if isinstance(tokens, int) else None
                found.append(
                    Sample(step=step, tokens=known, prompt=str(line.get("prompt")), text=str(line.get("text")))
                )
    except LabError as error:
        problems.append(str(error))
    if len(found) <= MOST_SAMPLES:
        return tuple(found)
    return tuple(found[place * (len(found) - 1) // (MOST_SAMPLES - 1)] for place in range(MOST_SAMPLES))


def _command(found: Overview) -> str:
    words = found.origin.get("command")
    if not isinstance(words, list) or not words:
        return ""
    return shlex.join([Path(str(words[0])).name, *map(str, words[1:])])


def _recipe(run: Run) -> str:
    path = run.folder / RECIPE
    with contextlib.suppress(OSError):
        if path.stat().st_size <= LARGEST_RECIPE:
            return path.read_text(encoding="utf-8", errors="replace")
    return ""
