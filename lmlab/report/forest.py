"""The forest plot of a study: each effect as a point with its interval, beside the line of no effect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import short
from lmlab.report.placing import beside, widest
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SETTINGS, SMALL_SIZE
from lmlab.stats.verdict import LEVEL
from lmlab.study.grid.bounds import Side
from lmlab.study.grid.effects import Effect
from lmlab.study.grid.ledger import StudyResult
from lmlab.study.grid.words import TITLES

WIDTH = 11.0
ROW_INCHES, FRAME_INCHES = 0.36, 1.9
MOST_ROWS = 40
MARKERS = {None: "s", "at least": ">", "at most": "<"}
SIGNS = {None: "", "at least": "≥ ", "at most": "≤ "}
"""Prefixes of an effect, and of a bound."""
COLOURS = {"better": RUN_COLOURS[2], "worse": RUN_COLOURS[1], "indistinguishable": QUIET}
LONGEST_LABEL = 46
LEAST_LEFT, MOST_TICKS = 0.16, 6
VERDICT_SHIFT, BOUND_SHIFT = 64, 78  # points from the panel to the verdicts, behind the differences


def write_forest(result: StudyResult, folder: Path) -> list[Path]:
    """Write effects.svg and effects.png in `folder`; none where there is no effect yet."""
    if not result.effects:
        return []
    return write_figure(draw_forest(result), folder, "effects")


def draw_forest(result: StudyResult) -> Figure:
    """Return the figure, 1100 pixels wide: a row for each effect, in the order of the study's table."""
    rows = _rows(result.effects[:MOST_ROWS])
    height = FRAME_INCHES + ROW_INCHES * len(rows)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        names = [row if isinstance(row, str) else short(row.name, LONGEST_LABEL) for row in rows]
        figure.subplots_adjust(
            left=max(LEAST_LEFT, 0.04 + widest(figure, names)), right=0.78, top=1 - 1.05 / height, bottom=0.72 / height
        )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.axvline(0.0, color=INK, linewidth=1.0, zorder=1)
        for place, row in enumerate(rows):
            if isinstance(row, str):
                beside(axes, 0.0, -8, place, row, ha="right", color=QUIET, fontsize=SMALL_SIZE, style="italic")
            else:
                _draw(axes, place, row)
        axes.set_yticks([])
        axes.margins(x=0.06)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=MOST_TICKS))
        axes.set_xlabel(f"difference in {result.cells.measure} with its {LEVEL:.0%} interval  (left of 0: better)")
        _titles(figure, result, height)
        return figure


def _rows(effects: Sequence[Effect]) -> list[Effect | str]:
    """Return the effects, with a heading above each kind where there are several."""
    kinds = list(dict.fromkeys(effect.kind for effect in effects))
    rows: list[Effect | str] = []
    for kind in kinds:
        if len(kinds) > 1:
            rows.append(TITLES[kind])
        rows += [effect for effect in effects if effect.kind == kind]
    return rows


def _draw(axes: Axes, place: int, effect: Effect) -> None:
    found = effect.verdict
    colour = COLOURS[found.kind]
    if effect.bound is None:
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2.2, zorder=2)
    else:
        _draw_open(axes, place, found.difference, effect.bound, colour)
    sure = found.kind != "indistinguishable"
    axes.plot(
        [found.difference],
        [place],
        marker=MARKERS[effect.bound],
        markersize=7,
        color=colour,
        markerfacecolor=colour if sure and effect.holds else "white",
        zorder=3,
    )
    beside(axes, 0.0, -8, place, short(effect.name, LONGEST_LABEL), ha="right", color=INK)
    beside(axes, 1.0, 8, place, f"{SIGNS[effect.bound]}{found.difference:+.4f}", ha="left", color=INK)
    shift = VERDICT_SHIFT if effect.bound is None else BOUND_SHIFT
    beside(axes, 1.0, shift, place, short(effect.words, 24), ha="left", color=colour, fontsize=SMALL_SIZE)


def _draw_open(axes: Axes, place: int, bound: float, side: Side, colour: str) -> None:
    """Draw an arrow from a bound to the edge of the panel, beyond which the difference may lie as well."""
    axes.annotate(
        "",
        xy=(1.0 if side == "at least" else 0.0, place),
        xycoords=axes.get_yaxis_transform(),
        xytext=(bound, place),
        textcoords="data",
        arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 2.2, "shrinkA": 0.0, "shrinkB": 0.0},
        zorder=2,
    )


def _titles(figure: Figure, result: StudyResult, height: float) -> None:
    plan, noise = result.plan, result.noise.seeds
    left = 0.02
    figure.text(
        left, 1 - 0.30 / height, f"Study {short(plan.name, 50)}", fontsize=17, fontweight="bold", va="center", color=INK
    )
    counts = result.cells.finished()
    facts = f"{plan.design} on {short(plan.base.name, 40)}  ·  {len(counts)} cells, {sum(counts.values())} runs  ·  seed SD "
    facts += f"{noise.standard_deviation:.4f} ({noise.source})  ·  filled: holds beside all the others"
    stopped = sum(result.cells.stopped().values())
    if stopped:
        facts += f"  ·  {stopped} stopped early (arrows: bounds)"
    if len(result.effects) > MOST_ROWS:
        facts += f"  ·  the first {MOST_ROWS} of {len(result.effects)} effects"
    figure.text(left, 1 - 0.62 / height, facts, fontsize=11, va="center", color=QUIET)
