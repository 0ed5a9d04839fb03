"""The figure of a comparison: the mean score of each model, and of answers of known quality, by each judge with its interval."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmlab.judge.figures import Figures, JudgeFigures, ranking
from lmlab.judge.texts import BAD_CONTROLS, LADDER
from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import short
from lmlab.report.placing import beside, widest
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SETTINGS, SMALL_SIZE
from lmlab.stats.scores import MeanScore, mean_score

WIDTH = 11.0
ROW_INCHES, FRAME_INCHES, BETWEEN_INCHES = 0.34, 0.5, 1.0
LONGEST_NAME = 40
LEAST_LEFT = 0.16
NAME = "scores"


def write_scores(figures: Figures, folder: Path) -> list[Path]:
    """Write scores.svg and scores.png in `folder`; none where no judge was asked."""
    return write_figure(draw_scores(figures), folder, NAME) if figures.judges else []


def draw_scores(figures: Figures) -> Figure:
    """Return the figure, 1100 pixels wide: a panel for each judge, with a row for each model and each text of known quality."""
    rows = [_rows(figures, judge) for judge in figures.judges]
    heights = [ROW_INCHES * len(some) for some in rows]
    height = FRAME_INCHES + sum(heights) + BETWEEN_INCHES * len(rows)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
        names = [short(name, LONGEST_NAME) for some in rows for name, _, _ in some]
        left = max(LEAST_LEFT, 0.04 + widest(figure, names))
        gap = BETWEEN_INCHES * len(rows) / sum(heights)
        figure.subplots_adjust(left=left, right=0.9, top=1 - 0.55 / height, bottom=0.6 / height, hspace=gap)
        for axes, judge, some in zip(panels, figures.judges, rows, strict=True):
            _draw(axes, judge, some)
        panels[-1].set_xlabel(
            "mean score of 100 with its 95% interval over questions; unread replies count as 0 and as 100"
        )
        return figure


def _rows(figures: Figures, judge: JudgeFigures) -> list[tuple[str, MeanScore, bool]]:
    """Return name, score and whether it's a model, best first; the texts of known quality in their known order."""
    models = [(figures.names[place], judge.standings[place].score, True) for place in ranking(judge)]
    examination = judge.raw.examination
    if examination is None or examination.method == "pairwise":
        return models
    scores = examination.scores()
    known = [(name, mean_score(scores[examination.names.index(name)]), False) for name in (*LADDER, *BAD_CONTROLS)]
    return [*models, *known]


def _draw(axes: Axes, judge: JudgeFigures, rows: list[tuple[str, MeanScore, bool]]) -> None:
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    verdict = "not examined" if judge.fitness is None else "fit" if judge.fitness.fit else "UNFIT"
    title = f"{short(judge.raw.name, LONGEST_NAME)} ({judge.raw.method}): {verdict}"
    axes.set_title(title, loc="left", color=INK, fontweight="bold")
    for place, (name, score, is_model) in enumerate(rows):
        colour = RUN_COLOURS[0] if is_model else QUIET
        beside(axes, 0.0, -8, place, short(name, LONGEST_NAME), ha="right", color=INK if is_model else QUIET)
        if math.isnan(score.mean.estimate):
            continue
        axes.plot([score.low, score.high], [place, place], color=colour, linewidth=2.2, zorder=2)
        axes.plot([score.mean.estimate], [place], marker="o", markersize=7, color=colour, zorder=3)
        beside(axes, 1.0, 8, place, f"{score.mean.estimate:.1f}", ha="left", color=colour, fontsize=SMALL_SIZE)
