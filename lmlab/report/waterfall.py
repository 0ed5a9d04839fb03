"""How one loss becomes another: a bar for each share, from where the one before ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import short
from lmlab.report.placing import beside, widest
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SETTINGS, SMALL_SIZE
from lmlab.study.explanation import Explanation

WIDTH, ROW_INCHES, FRAME_INCHES = 11.0, 0.44, 1.9
BETTER, WORSE, UNSURE = RUN_COLOURS[2], RUN_COLOURS[1], QUIET
BAR, MARGIN = 0.62, 0.05
LONGEST_LABEL, LEAST_LEFT = 34, 0.16


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row."""

    label: str
    start: float
    end: float
    colour: str
    limits: tuple[float, ...] = ()
    """The interval of where it ends; of a loss, which is no share, none."""


def write_waterfall(found: Explanation, folder: Path) -> list[Path]:
    """shares.svg and shares.png in `folder`; none before the bridging runs are there."""
    bars = bars_of(found)
    return write_figure(draw_waterfall(found, bars), folder, "shares") if bars else []


def bars_of(found: Explanation) -> list[Bar]:
    """From the first end's bridging loss through the shares to the second's, and from there to the second's own loss where what is
    left over is known."""
    plan, means = found.result.plan, found.result.cells.means()
    zero, whole = (0,) * len(plan.factors), (1,) * len(plan.factors)
    shares = [effect for effect in found.result.effects if effect.kind == "share"]
    if zero not in means or whole not in means or len(shares) < len(plan.factors):
        return []
    here = means[zero]
    bars = [Bar(label=_end_label(found, 0), start=here, end=here, colour=INK)]
    for effect in shares:
        seen = effect.verdict
        colour = {"better": BETTER, "worse": WORSE}.get(seen.kind, UNSURE)
        bars.append(
            Bar(
                label=effect.name,
                start=here,
                end=here + seen.difference,
                colour=colour,
                limits=(here + seen.low, here + seen.high),
            )
        )
        here += seen.difference
    bars.append(Bar(label=_end_label(found, 1), start=here, end=here, colour=INK))
    return bars


def _end_label(found: Explanation, end: int) -> str:
    """An end of the bridge: its loss is the mean over the seeds of its recipe, or that of a bridging run in its place."""
    plan, name = found.result.plan, found.ends[end].name
    cell = (end,) * len(plan.factors)
    seeds = found.result.cells.counts().get(cell, 0)
    if seeds > 1:
        return f"{name}, mean of {seeds} seeds"
    return name if plan.given else f"{name}, bridging run"


def draw_waterfall(found: Explanation, bars: list[Bar]) -> Figure:
    """The figure, 1100 pixels wide, the first end at the top."""
    height = FRAME_INCHES + ROW_INCHES * len(bars)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        names = [short(bar.label, LONGEST_LABEL) for bar in bars]
        figure.subplots_adjust(
            left=max(LEAST_LEFT, 0.04 + widest(figure, names)), right=0.88, top=1 - 1.05 / height, bottom=0.72 / height
        )
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        for place, bar in enumerate(bars):
            _draw(axes, place, bar, place + 1 < len(bars))
        axes.set_yticks([])
        places = [place for bar in bars for place in (bar.start, bar.end, *bar.limits)]
        room = MARGIN * (max(places) - min(places))
        axes.set_xlim(min(places) - room, max(places) + room)
        axes.set_xlabel(f"validation loss, {found.result.cells.measure}; thin lines: the 95% interval of a share")
        _titles(figure, found, height)
        return figure


def _draw(axes: Axes, place: int, bar: Bar, further: bool) -> None:
    if not bar.limits:
        axes.plot([bar.end], [place], marker="D", markersize=8, color=bar.colour, zorder=3)
    else:
        axes.barh(
            place, bar.end - bar.start, left=bar.start, height=BAR, color=bar.colour, zorder=2,
            alpha=0.45 if bar.colour == UNSURE else 0.85,
        )  # fmt: skip
        axes.plot(list(bar.limits), [place, place], color=INK, linewidth=1.2, zorder=3)
    if further:
        axes.plot([bar.end, bar.end], [place, place + 1], color=QUIET, linewidth=0.8, zorder=1)
    said = f"{bar.end:.4f}" if not bar.limits else f"{bar.end - bar.start:+.4f}"
    beside(axes, 0.0, -8, place, short(bar.label, LONGEST_LABEL), ha="right", color=INK)
    beside(axes, 1.0, 8, place, said, ha="left", color=bar.colour)


def _titles(figure: Figure, found: Explanation, height: float) -> None:
    one, other = found.ends
    title = f"{short(one.name, 30)} to {short(other.name, 30)}: what each difference brings"
    figure.text(0.02, 1 - 0.30 / height, title, fontsize=17, fontweight="bold", va="center", color=INK)
    parts = ["Shapley values"]
    if found.proxy:
        parts.append("of a scale model")
    if found.share < 1:
        parts.append(f"trainings of {found.share:.3g} of the steps")
    if found.residual is not None:
        beside = "seed noise" if found.result.plan.given else "unexplained"
        parts.append(f"difference {found.difference:+.3f}, of it {found.residual:+.3f} {beside}")
    figure.text(0.02, 1 - 0.62 / height, "  ·  ".join(parts), fontsize=11, va="center", color=QUIET)
    figure.text(0.98, 0.012, "green: better, orange: worse, grey: may be chance", fontsize=SMALL_SIZE,
                ha="right", va="bottom", color=QUIET)  # fmt: skip
