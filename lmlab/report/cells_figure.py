"""Plot every run of a factorial study against one numeric factor: loss against the learning rate with a line for each size, and so
on.

The learning rate, or else the factor with the most numeric levels, is on the horizontal axis, the one with the most levels among
the others is drawn as lines, and each setting of the rest has a panel. A dot is a run, a line connects the means over seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.files import MOST_RUNS
from lmlab.report.labels import short
from lmlab.report.style import INK, QUIET, RUN_COLOURS, RUN_MARKERS, SETTINGS, SMALL_SIZE
from lmlab.stats.factorial import Cell
from lmlab.study.grid.ledger import StudyResult
from lmlab.study.grid.study_plan import StudyPlan

WIDTH, PANEL_HEIGHT, FRAME = 11.0, 3.3, 1.35
FEWEST_LEVELS = 3
"""Levels of the horizontal factor, including the baseline's."""
COLUMNS, MOST_PANELS = 2, 8
RATE = "optim.lr"
LONGEST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How each factor is drawn, by its index among the plan's factors."""

    across: int
    values: tuple[float, ...]
    """Values of the horizontal factor, by level."""
    lines: int | None
    panels: tuple[int, ...]


def write_cells(result: StudyResult, folder: Path) -> list[Path]:
    """Write cells.svg and cells.png in `folder`; none where the study has no such factor, or no finished run."""
    layout = layout_of(result.plan)
    if layout is None or not result.cells.losses():
        return []
    return write_figure(draw_cells(result, layout), folder, "cells")


def layout_of(plan: StudyPlan) -> Layout | None:
    """Return how the cells are drawn; None for other designs, and where no factor has three numeric levels."""
    if plan.design != "factorial":
        return None
    numbers = {place: values for place in range(len(plan.factors)) if (values := _values(plan, place)) is not None}
    if not numbers:
        return None
    across = max(numbers, key=lambda place: (_sets(plan, place, RATE), len(numbers[place])))
    rest = [place for place in range(len(plan.factors)) if place != across]
    fitting = [place for place in rest if len(plan.factors[place].levels) < MOST_RUNS]
    lines = max(fitting, key=lambda place: len(plan.factors[place].levels), default=None)
    panels = tuple(place for place in rest if place != lines)
    if math.prod(len(plan.factors[place].levels) + 1 for place in panels) > MOST_PANELS:
        return None
    return Layout(across=across, values=numbers[across], lines=lines, panels=panels)


def draw_cells(result: StudyResult, layout: Layout) -> Figure:
    """Return the figure, 1100 pixels wide."""
    plan = result.plan
    settings = list(itertools.product(*(range(len(plan.factors[place].levels) + 1) for place in layout.panels)))
    columns = min(COLUMNS, len(settings))
    rows = -(-len(settings) // columns)
    height = FRAME + PANEL_HEIGHT * rows
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        figure.subplots_adjust(
            left=0.08, right=0.98, top=1 - 1.15 / height, bottom=0.65 / height, hspace=0.38, wspace=0.2
        )
        for place, axes in enumerate(grid.flat):
            if place >= len(settings):
                axes.set_visible(False)
                continue
            _draw(axes, result, layout, settings[place])
            if place % columns == 0:
                axes.set_ylabel(f"loss, {result.cells.measure}")
            if place >= len(settings) - columns:
                axes.set_xlabel(plan.factors[layout.across].name)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="upper right", ncols=min(3, len(labels)), frameon=False, fontsize=SMALL_SIZE,
            bbox_to_anchor=(0.985, 1 - 0.12 / height),
        )  # fmt: skip
        figure.text(
            0.02,
            1 - 0.30 / height,
            f"Study {short(plan.name, 30)}",
            fontsize=17,
            fontweight="bold",
            va="center",
            color=INK,
        )
        count = sum(run.loss is not None for run in result.cells.runs)
        words = f"{count} runs: a dot each, lines through the means over seeds"
        figure.text(0.02, 1 - 0.62 / height, words, fontsize=11, va="center", color=QUIET)
        return figure


def _draw(axes: Axes, result: StudyResult, layout: Layout, panel: Sequence[int]) -> None:
    plan, losses = result.plan, result.cells.losses()
    order = sorted(range(len(layout.values)), key=lambda level: layout.values[level])
    for line in _lines(plan, layout):
        colour, marker = RUN_COLOURS[line], RUN_MARKERS[line]
        points: list[tuple[float, float]] = []
        for level in order:
            found = losses.get(_cell(len(plan.factors), layout, panel, line, level), [])
            value = layout.values[level]
            axes.plot([value] * len(found), found, linestyle="", marker="o", markersize=3.5, color=colour, alpha=0.45)
            points += [(value, math.fsum(found) / len(found))] if found else []
        name = "" if layout.lines is None else _level_name(plan, layout.lines, line)
        axes.plot(
            *zip(*points, strict=True), color=colour, marker=marker, markersize=6, linewidth=1.8, label=name or None
        )
    if min(layout.values) > 0:
        axes.set_xscale("log")
    axes.set_xticks([layout.values[level] for level in order], [_number(layout.values[level]) for level in order])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(short(", ".join(_panel_names(plan, layout, panel)), 2 * LONGEST_NAME))


def _cell(count: int, layout: Layout, panel: Sequence[int], line: int, level: int) -> Cell:
    cell = [0] * count
    cell[layout.across] = level
    if layout.lines is not None:
        cell[layout.lines] = line
    for place, setting in zip(layout.panels, panel, strict=True):
        cell[place] = setting
    return tuple(cell)


def _panel_names(plan: StudyPlan, layout: Layout, panel: Sequence[int]) -> list[str]:
    return [_level_name(plan, place, level) for place, level in zip(layout.panels, panel, strict=True)]


def _level_name(plan: StudyPlan, place: int, level: int) -> str:
    factor = plan.factors[place]
    if level:
        label = factor.levels[level - 1].label
        return short(factor.name if label == "on" else f"{factor.name} {label}", LONGEST_NAME)
    fields = {name for one in factor.levels for name in one.settings}
    own = _own(plan, fields.pop()) if len(fields) == 1 else None
    if isinstance(own, int | float) and not isinstance(own, bool):
        return f"{factor.name} {_number(own)}"
    return f"{factor.name} as in the baseline" if own or len(fields) else f"without {factor.name}"


def _lines(plan: StudyPlan, layout: Layout) -> list[int]:
    """Return the levels of the factor drawn as lines, in numeric order where they are numbers."""
    if layout.lines is None:
        return [0]
    levels = list(range(len(plan.factors[layout.lines].levels) + 1))
    values = _values(plan, layout.lines)
    return levels if values is None else sorted(levels, key=lambda level: values[level])


def _sets(plan: StudyPlan, place: int, name: str) -> bool:
    return all(name in level.settings for level in plan.factors[place].levels)


def _values(plan: StudyPlan, place: int) -> tuple[float, ...] | None:
    """Return the numbers to which a factor's levels set one field, the baseline's first; None for another kind of factor."""
    levels = plan.factors[place].levels
    fields = {name for level in levels for name in level.settings}
    if len(fields) != 1 or len(levels) + 1 < FEWEST_LEVELS:
        return None
    name = fields.pop()
    values = [_own(plan, name), *(level.settings[name] for level in levels)]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return tuple(map(float, values)) if numeric and len(set(values)) == len(values) else None


def _number(value: float) -> str:
    return f"{value:,.7g}"


def _own(plan: StudyPlan, name: str) -> Any:
    section, _, field = name.partition(".")
    return getattr(getattr(plan.base, section), field, None)
