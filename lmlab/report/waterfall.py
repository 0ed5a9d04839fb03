"""The waterfall plot of an explanation: a bar for each share, starting where the previous one ended, and below them the residual of
the endpoints' own difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import short
from lmlab.report.placing import beside, widest
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SETTINGS, SMALL_SIZE
from lmlab.study.explain.explanation import Explanation

WIDTH, ROW_INCHES, FRAME_INCHES = 11.0, 0.44, 1.9
REGIME_INCHES = 0.24
COLOURS, UNSURE = {"better": RUN_COLOURS[2], "worse": RUN_COLOURS[1]}, QUIET
BAR, MARGIN = 0.62, 0.05
WHISKER, CAP = 1.4, 9  # points: how wide its line is, and how high its ends
LONGEST_LABEL, LEAST_LEFT = 34, 0.16
LONGEST_REGIME, MOST_TICKS = 150, 7


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row."""

    label: str
    start: float
    end: float
    colour: str
    limits: tuple[float, ...] = ()
    """The interval of its end; empty for a loss, which is no share."""
    kind: Literal["loss", "share", "residual", "difference"] = "share"


def write_waterfall(found: Explanation, folder: Path) -> list[Path]:
    """Write shares.svg and shares.png in `folder`; none before the interpolating runs exist."""
    bars = bars_of(found)
    return write_figure(draw_waterfall(found, bars), folder, "shares") if bars else []


def bars_of(found: Explanation) -> list[Bar]:
    """Return bars from the interpolation's loss at the first endpoint through the shares to that at the second. Where there is a
    residual: from there its bar, and the endpoints' own difference from the first again, which ends where the residual does."""
    plan, means = found.result.plan, found.result.cells.means()
    zero, whole = (0,) * len(plan.factors), (1,) * len(plan.factors)
    shares = [effect for effect in found.result.effects if effect.kind == "share" and effect.bound is None]
    if zero not in means or whole not in means or len(shares) < len(plan.factors):
        return []
    first = here = means[zero]
    bars = [Bar(label=_end_label(found, 0), start=here, end=here, colour=INK, kind="loss")]
    for effect in shares:
        seen = effect.verdict
        bars.append(
            Bar(
                label=effect.name,
                start=here,
                end=here + seen.difference,
                colour=COLOURS.get(seen.kind, UNSURE),
                limits=(here + seen.low, here + seen.high),
            )
        )
        here += seen.difference
    bars.append(Bar(label=_end_label(found, 1), start=here, end=here, colour=INK, kind="loss"))
    left, difference = found.left_over, found.difference
    if left is None or difference is None or left.nothing:
        return bars
    limits = (here + left.low, here + left.high)
    colour, end = COLOURS.get(left.kind, UNSURE), here + left.value
    bars.append(Bar(label=found.residual_name, start=here, end=end, colour=colour, limits=limits, kind="residual"))
    return [*bars, Bar(label=found.difference_name, start=first, end=first + difference, colour=INK, kind="difference")]


def _end_label(found: Explanation, end: int) -> str:
    """Return an endpoint's label: its loss is the mean over the seeds of its recipe, or that of an interpolating run in its
    place."""
    plan, name = found.result.plan, found.endpoints[end].name
    cell = (end,) * len(plan.factors)
    seeds = found.result.cells.counts().get(cell, 0)
    if seeds > 1:
        return f"{name}, mean of {seeds} seeds"
    return name if plan.given else f"{name}, interpolating run"


def draw_waterfall(found: Explanation, bars: list[Bar]) -> Figure:
    """Return the figure, 1100 pixels wide, the first endpoint at the top."""
    regimes = [regime.brief(found.interpolating) for regime in found.regimes]
    height = FRAME_INCHES + ROW_INCHES * len(bars) + REGIME_INCHES * len(regimes)
    top = 1.05 + REGIME_INCHES * len(regimes)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        names = [short(bar.label, LONGEST_LABEL) for bar in bars]
        figure.subplots_adjust(
            left=max(LEAST_LEFT, 0.04 + widest(figure, names)), right=0.88, top=1 - top / height, bottom=0.86 / height
        )
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        for place, bar in enumerate(bars):
            _draw(axes, place, bar, place + 1 < len(bars))
        axes.set_yticks([])
        places = [place for bar in bars for place in (bar.start, bar.end, *bar.limits)]
        room = MARGIN * (max(places) - min(places))
        axes.set_xlim(min(places) - room, max(places) + room)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=MOST_TICKS))
        axes.set_xlabel(f"validation loss of the interpolating runs, {found.result.cells.measure}")
        _titles(figure, found, regimes, height)
        return figure


def _draw(axes: Axes, place: int, bar: Bar, further: bool) -> None:
    if bar.kind == "loss":
        axes.plot([bar.end], [place], marker="D", markersize=8, color=bar.colour, zorder=3)
    else:
        axes.barh(place, bar.end - bar.start, left=bar.start, height=BAR, zorder=2, **_look(bar))
    if bar.limits:
        for colour, wider in (("white", 2.4), (INK, 0.0)):
            axes.plot(
                list(bar.limits), [place, place], color=colour, linewidth=WHISKER + wider, marker="|", zorder=3,
                markersize=CAP + wider, markeredgewidth=WHISKER + wider, solid_capstyle="butt",
            )  # fmt: skip
    if further:
        axes.plot([bar.end, bar.end], [place, place + 1], color=QUIET, linewidth=0.8, zorder=1)
    said = f"{bar.end:.4f}" if bar.kind == "loss" else f"{bar.end - bar.start:+.4f}"
    beside(axes, 0.0, -8, place, short(bar.label, LONGEST_LABEL), ha="right", color=INK)
    beside(axes, 1.0, 8, place, said, ha="left", color=bar.colour)


def _look(bar: Bar) -> dict[str, Any]:
    """Return the style: a share is filled, a residual hatched, and the total difference an outline."""
    if bar.kind == "difference":
        return {"facecolor": "none", "edgecolor": bar.colour, "linewidth": 1.4}
    if bar.kind == "residual":
        return {"facecolor": "white", "edgecolor": bar.colour, "linewidth": 1.2, "hatch": "////"}
    return {"color": bar.colour, "alpha": 0.45 if bar.colour == UNSURE else 0.85}


def _titles(figure: Figure, found: Explanation, regimes: list[str], height: float) -> None:
    one, other = found.endpoints
    title = f"{short(one.name, 30)} to {short(other.name, 30)}: the effect of each difference"
    figure.text(0.02, 1 - 0.30 / height, title, fontsize=17, fontweight="bold", va="center", color=INK)
    parts = ["Shapley values"]
    if found.proxy:
        parts.append("of a scale model")
    if found.share < 1:
        parts.append(f"trainings of {found.share:.3g} of the steps")
    if found.residual is not None and found.difference is not None:
        parts.append(
            f"{found.difference_name} {found.difference:+.3f}, of it {found.residual:+.3f} {found.residual_name}"
        )
    figure.text(0.02, 1 - 0.62 / height, "  ·  ".join(parts), fontsize=11, va="center", color=QUIET)
    for place, regime in enumerate(regimes):
        level = 1 - (0.88 + REGIME_INCHES * place) / height
        figure.text(0.02, level, short(regime, LONGEST_REGIME), fontsize=SMALL_SIZE, va="center", color=QUIET)
    figure.text(0.98, 0.012, "green: better, orange: worse, grey: may be chance; whiskers: 95% intervals",
                fontsize=SMALL_SIZE, ha="right", va="bottom", color=QUIET)  # fmt: skip
