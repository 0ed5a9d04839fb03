"""The charts of a report: loss, gap, learning rate, gradient norm, throughput, with bands of seeds and events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lmlab.report.curves import Series, mixed_tokens, on_one_scale
from lmlab.report.events import SPIKES, described_event
from lmlab.report.page.courses import Course
from lmlab.report.page.downsample import kept_places
from lmlab.report.page.seeds import mean_line
from lmlab.report.page.values import Chart, Level, Line, Mark

MOST_POINTS = 10_000
"""Points of all curves of a page together; the file stays below 2 MB with them."""
FEWEST_POINTS = 60
MOST_A_CURVE = 1_500
MOST_MARKS = 40
"""Events of one run in a chart."""
MARKED = (*SPIKES, "scale_lowered", "forecast_missed", "stopped", "failed")
METRICS = "metrics.jsonl"

Picked = Callable[[Course], Series]


def charts_of(courses: Sequence[Course], groups: Sequence[Sequence[int]], names: Sequence[str]) -> tuple[Chart, ...]:
    """Return the charts that have anything to show. Each group is one curve with a band where it has several runs."""
    found = [_loss_chart(courses, groups, names), _gap_chart(courses, groups, names)]
    for key, title, unit, logarithmic, pick in (
        ("rate", "Learning rate", "", False, lambda course: course.curves.rate),
        ("norm", "Gradient norm", "", True, lambda course: course.curves.norm),
        ("throughput", "Throughput", "tokens/s", False, lambda course: course.series("tokens_per_second")),
        ("mfu", "Model FLOPs utilisation", "share of the peak", False, lambda course: course.series("mfu")),
        ("noise", "Gradient noise scale", "sequences", True, lambda course: course.series("noise_scale")),
    ):
        lines = _grouped(courses, groups, names, pick, title.lower(), "line", _key(key))
        found.append(Chart(key=key, title=title, unit=unit, logarithmic=logarithmic, lines=lines))
    shown = [chart for chart in found if chart.lines]
    curves = sum(len(chart.lines) for chart in shown)
    most = min(MOST_A_CURVE, max(FEWEST_POINTS, MOST_POINTS // max(1, curves)))
    return tuple(_thinned(chart, most) for chart in shown)


def _key(key: str) -> str:
    return {
        "rate": "learning_rate",
        "norm": "gradient_norm",
        "throughput": "tokens_per_second",
        "noise": "noise_scale",
    }.get(key, key)


def _loss_chart(courses: Sequence[Course], groups: Sequence[Sequence[int]], names: Sequence[str]) -> Chart:
    scaled = dict(zip((id(one) for one in courses), on_one_scale([one.curves for one in courses]), strict=True))
    scale = scaled[id(courses[0])].scale
    alone = len(courses) == 1

    def grouped(field: str, what: str, style: str, key: str) -> tuple[Line, ...]:
        return _grouped(courses, groups, names, lambda one: getattr(scaled[id(one)], field), what, style, key)

    key = "valid_loss" if scale == "nats a token" else "valid_bits_per_byte"
    lines = (
        *grouped("train", "training loss (batches)", "thin", "loss"),
        *(grouped("train_scored", "training loss (scored)", "dashed", "train_loss") if alone else ()),
        *grouped("valid", "validation loss", "line", key),
        *(grouped("final", "validation loss, whole split", "points", "loss") if alone else ()),
    )
    note = ""
    if mixed_tokens([one.curves for one in courses]) and scale == "nats a token":
        note = "The runs have different tokenizers, so their losses a token can't be compared."
    if not note and not alone:
        note = "Thick: validation loss. Thin: training loss of the batches."
    elif not note and courses[0].curves.sampled:
        note = "Evaluations during the training score a sample of the split."
    return Chart(
        key="loss",
        title="Loss",
        unit=scale.replace(" a ", " per "),
        logarithmic=False,
        lines=lines,
        marks=_marks(courses, groups) if scale == "nats a token" else (),
        levels=_levels(courses) if scale == "nats a token" else (),
        note=note,
    )


def _gap_chart(courses: Sequence[Course], groups: Sequence[Sequence[int]], names: Sequence[str]) -> Chart:
    def pick(course: Course) -> Series:
        return course.series("gap", "evaluation")

    lines = list(_grouped(courses, groups, names, pick, "validation minus training loss", "line", "gap"))
    if len(courses) == 1 and lines:
        limits = {
            line["step"]: line["gap_interval"]
            for line in courses[0].lines
            if isinstance(line.get("gap_interval"), list) and len(line["gap_interval"]) == 2
        }
        low, high = (
            np.asarray([_limit(limits.get(int(step)), side) for step in lines[0].places.steps]) for side in (0, 1)
        )
        lines = [replace(lines[0], low=low, high=high, source=f"{lines[0].source}, gap_interval (95%)")]
    return Chart(key="gap", title="Validation minus training loss", unit="nats per token", lines=tuple(lines))


def _limit(interval: Sequence[float | None] | None, side: int) -> float:
    value = None if interval is None else interval[side]
    return math.nan if value is None else float(value)


def _grouped(
    courses: Sequence[Course], groups: Sequence[Sequence[int]], names: Sequence[str], pick: Picked, quantity: str,
    style: str, key: str,
) -> tuple[Line, ...]:  # fmt: skip
    found = []
    for number, members in enumerate(groups):
        lines = [_line(courses[place], number, pick(courses[place]), quantity, style, key) for place in members]
        kept = [line for line in lines if np.isfinite(line.values).any()]
        found += [mean_line(names[number], kept)] if len(kept) > 1 else kept
    return tuple(line for line in found if len(line.values))


def _line(course: Course, group: int, series: Series, quantity: str, style: str, key: str) -> Line:
    return Line(
        name=course.name,
        group=group,
        quantity=quantity,
        style=style,  # type: ignore[arg-type]
        places=course.places(series.steps, series.tokens),
        values=series.heights(),
        source=f"{course.name}/{'summary.json' if style == 'points' else METRICS}: {key}",
    )


def _marks(courses: Sequence[Course], groups: Sequence[Sequence[int]]) -> tuple[Mark, ...]:
    """Return the events of a few runs on their curves; with many runs they would hide them."""
    group_of = {place: number for number, members in enumerate(groups) for place in members}
    found = []
    for place, course in enumerate(courses):
        resumes = [(step, "resumed") for step in course.curves.resumes.steps]
        events = [
            (int(line["step"]), described_event(line))
            for line in course.record.run.read_lines("events")
            if line["kind"] in MARKED
        ]
        for step, what in [*resumes, *events][:MOST_MARKS]:
            value = course.loss_at(step)
            if value is not None and step <= max(course.curves.train.steps + course.curves.valid.steps):
                found.append(
                    Mark(
                        run=course.name, group=group_of[place], what=what, places=course.place_at(step), value=value,
                        source=f"{course.name}/events.jsonl",
                    )
                )  # fmt: skip
    return tuple(found)


def _levels(courses: Sequence[Course]) -> tuple[Level, ...]:
    claims = dict.fromkeys(claim for course in courses for claim in course.curves.claims)
    return tuple(
        Level(
            words=f"published {claim.value:g}" + ("" if claim.step is None else f" at step {claim.step:,}"),
            value=claim.value,
            source=claim.source,
        )
        for claim in claims
        if claim.metric == "valid_loss"
    )


def _thinned(chart: Chart, most: int) -> Chart:
    lines = tuple(_thin(line, most) for line in chart.lines)
    return replace(chart, lines=lines)


def _thin(line: Line, most: int) -> Line:
    kept = kept_places(line.values, most)
    return replace(
        line,
        places=line.places.at(kept),
        values=line.values[kept],
        low=None if line.low is None else line.low[kept],
        high=None if line.high is None else line.high[kept],
    )
