"""The plot of answers against base models: each metric of the answers over the loss of the model that was tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmlab.report.figure import PIXELS_AN_INCH
from lmlab.report.labels import short
from lmlab.report.style import INK, QUIET, RUN_COLOURS, RUN_MARKERS, SETTINGS, SMALL_SIZE

PANEL_INCHES, HEIGHT_INCHES = 4.6, 4.8
LONGEST_TITLE, LONGEST_LABEL = 44, 24


@dataclass(frozen=True, kw_only=True)
class AnswerPoint:
    """A model in one panel."""

    label: str
    """The base's name."""
    group: str
    """The tuning's name: a colour and a marker."""
    loss: float
    """The base's."""
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class AnswerPanel:
    """One metric."""

    title: str
    """The metric with its unit."""
    note: str
    """A line below the title, such as the order's tau."""
    points: Sequence[AnswerPoint]


def draw_answers(panels: Sequence[AnswerPanel], unit: str) -> Figure:
    """Return the figure: a panel a metric, over the loss of the base in `unit`, with 95% intervals over questions."""
    with matplotlib.rc_context(SETTINGS):
        width = PANEL_INCHES * len(panels)
        figure = Figure(figsize=(width, HEIGHT_INCHES), dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        figure.subplots_adjust(left=0.6 / width, right=1 - 0.15 / width, top=0.8, bottom=0.13, wspace=0.22)
        groups = list(dict.fromkeys(point.group for panel in panels for point in panel.points))
        for axes, panel in zip(all_axes, panels, strict=True):
            for number, group in enumerate(groups):
                chosen = sorted((one for one in panel.points if one.group == group), key=lambda one: one.loss)
                colour = RUN_COLOURS[number % len(RUN_COLOURS)]
                values = [one.value for one in chosen]
                below = [max(0.0, one.value - one.low) for one in chosen]
                above = [max(0.0, one.high - one.value) for one in chosen]
                axes.errorbar(
                    [one.loss for one in chosen],
                    values,
                    yerr=[below, above],
                    fmt=RUN_MARKERS[number % len(RUN_MARKERS)],
                    linestyle="-",
                    color=colour,
                    markersize=6,
                    linewidth=1.2,
                    elinewidth=1.0,
                    capsize=2.5,
                    label=short(group, LONGEST_LABEL),
                )
            axes.set_title(short(panel.title, LONGEST_TITLE), color=INK, pad=22)
            axes.text(0.0, 1.03, panel.note, transform=axes.transAxes, fontsize=SMALL_SIZE, color=QUIET)
            axes.set_xlabel(f"loss of the base, {unit}")
        all_axes[0].legend(frameon=False, fontsize=SMALL_SIZE)
        figure.text(
            0.2 / width, 0.945, "Answers over the loss of the base model", fontsize=14, fontweight="bold", color=INK
        )
    return figure
