"""Plot a comparison: validation loss against tokens, FLOPs and seconds, with the spread of seeds, and the final losses.

A pale band spans the lowest to the highest of a recipe's seeds. The bar at a curve's end is 1.96 standard deviations of seed noise
to either side of the final loss: it contains the result of another seed in 95 % of cases.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from lmlab import LabError, printable
from lmlab.recipe.quantities import duration
from lmlab.report.comparison_table import verdict_line
from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import amount, short
from lmlab.report.loss_panel import SMALLEST_SPAN
from lmlab.report.style import INK, QUIET, RUN_COLOURS, RUN_MARKERS, SETTINGS, SMALL_SIZE
from lmlab.study.compare.comparison import Comparison
from lmlab.study.compare.curves import Axis
from lmlab.study.compare.pairs import Pair

INCHES = (14.0, 6.2)
PANELS: tuple[tuple[Axis, str], ...] = (
    ("tokens", "tokens trained on"),
    ("FLOPs", "training FLOPs"),
    ("seconds", "time of training"),
)
LATER_SHARE = 0.1
"""Share of a run's cost; before it, the loss falls steeply from its initial value, and may leave the panel at the top."""
FIRST_DRAWN = 0.05
"""Share of the shortest run's cost: earlier evaluations are left of the horizontal axes."""
BEFORE_FIRST = 0.88
"""The axes begin at this multiple of the first evaluation drawn, so that its mark is complete."""
ROOM = 1.15
"""They end at this multiple of the longest run, so that its last mark is complete."""
ROUND_SECONDS = tuple(
    unit * count
    for unit, counts in (
        (0.01, (1, 2, 5, 10, 20, 50)),
        (1.0, (1, 2, 5, 10, 20)),
        (60.0, (1, 2, 5, 10, 20)),
        (3600.0, (1, 2, 5, 12)),
        (86400.0, (1, 2, 5, 10, 20, 50)),
    )
    for count in counts
)
"""Marks of an axis of time."""
MOST_DOTS = 40
LONGEST_FACTS = 150
NAMES_A_ROW = 3
ROW_HEIGHT = 0.036  # of a row of the legend, as a share of the figure
NORMAL_95 = 1.96


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Draw into a .png or .svg file; LabError where there is nothing to draw, or the file can't be written."""
    if not comparison.curves:
        raise LabError(
            "no picture is drawn: the runs were scored on different texts, or one has no evaluations yet; --on TEXT scores all of "
            "them on one text"
        )
    write_figure(draw_comparison(comparison), path.parent, path.stem, (picture_kind(path),))


def picture_kind(path: Path) -> str:
    """Return png or svg, by the file's name; LabError for others."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise LabError(f"{path} is not the name of a picture: expected one that ends in .png or .svg")
    return kind


def draw_comparison(comparison: Comparison) -> Figure:
    """Return the figure, 1400 x 620 pixels: a panel for each of tokens, FLOPs and seconds."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=INCHES, dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(PANELS), sharey=True, squeeze=False)[0]
        rows = math.ceil(len(comparison.names) / NAMES_A_ROW)
        figure.subplots_adjust(left=0.06, right=0.97, top=0.8 - ROW_HEIGHT * rows, bottom=0.15, wspace=0.08)
        for axes, (axis, words) in zip(panels, PANELS, strict=True):
            _draw(axes, comparison, axis)
            axes.set_xlabel(words)
        panels[0].set_ylim(*_limits(comparison))
        differ = " (the tokenizers differ)" if comparison.scale == "bits per byte" else ""
        panels[0].set_title(f"validation loss, {comparison.scale}{differ}")
        _write_titles(figure, comparison)
        return figure


def _draw(axes: Axes, comparison: Comparison, axis: Axis) -> None:
    axes.set_xscale("log")
    noise = _noise(comparison)
    for index, (curve, band) in enumerate(zip(comparison.curves, comparison.bands, strict=True)):
        if axis not in curve.spent:  # an imported log may lack it
            continue
        places, colour = np.asarray(curve.spent[axis]), RUN_COLOURS[index]
        begun = places > 0
        if band is not None:
            low, high = np.asarray(band.low)[begun], np.asarray(band.high)[begun]
            axes.fill_between(places[begun], low, high, color=colour, alpha=0.18, linewidth=0)
        every = max(1, int(begun.sum()) // MOST_DOTS)
        axes.plot(
            places[begun], np.asarray(curve.losses)[begun], color=colour, linewidth=2.0, marker=RUN_MARKERS[index],
            markersize=4.5, markevery=every,
        )  # fmt: skip
        final = comparison.finals[index]
        if final is not None and begun.any():
            axes.errorbar(
                places[-1], final, yerr=noise or None, color=colour, marker=RUN_MARKERS[index], markersize=7,
                markeredgecolor="white", capsize=4, elinewidth=1.6, zorder=6,
            )  # fmt: skip
    ends = [curve.end(axis) for curve in comparison.curves if curve.end(axis) > 0]
    if ends:
        begin = FIRST_DRAWN * min(ends)
        drawn = [place for curve in comparison.curves for place in curve.spent.get(axis, ()) if place >= begin]
        axes.set_xlim(BEFORE_FIRST * min(drawn), ROOM * max(ends))
    if axis == "seconds":
        axes.xaxis.set_major_locator(FixedLocator(ROUND_SECONDS))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=9))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _place(value, axis)))


def _place(value: float, axis: Axis) -> str:
    if axis == "seconds":
        return duration(value).replace(" 00 s", "").replace(" 00 min", "") if value >= 1 else f"{value:.1g} s"
    return amount(value) if axis == "tokens" else f"{value:.0e}".replace("e+", "e")


def _noise(comparison: Comparison) -> float:
    """Return half of the bar at a curve's end; 0 where no verdict estimated the noise on the curves' own scale."""
    known = [
        pair.noise.seeds.standard_deviation
        for pair in comparison.pairs
        if pair.noise is not None and pair.scale == comparison.scale and not comparison.on
    ]
    return NORMAL_95 * max(known, default=0.0)


def _limits(comparison: Comparison) -> tuple[float, float]:
    """Return the limits of the vertical axis: everything after the steep start, and the bars at the ends."""
    noise, values = _noise(comparison), []
    for index, (curve, band) in enumerate(zip(comparison.curves, comparison.bands, strict=True)):
        steps = np.asarray(curve.spent["steps"])
        later = steps >= LATER_SHARE * steps[-1]
        for losses in (curve.losses, *((band.low, band.high) if band else ())):
            values += np.asarray(losses)[later].tolist()
        final = comparison.finals[index]
        values += [] if final is None else [final - noise, final + noise]
    finite = [value for value in values if np.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    span = max(high - low, SMALLEST_SPAN * abs(high), 1e-6)
    return (low + high) / 2 - 0.56 * span, (low + high) / 2 + 0.56 * span


def _write_titles(figure: Figure, comparison: Comparison) -> None:
    said = [verdict_line(pair).partition(": ") for pair in comparison.pairs if pair.verdict is not None]
    title, facts = f"{len(comparison.names)} runs compared", "  ·  ".join(head for head, _, _ in said)
    if len(comparison.pairs) == 1:
        title, facts = verdict_line(comparison.pairs[0]).partition(":")[0], _figures(comparison.pairs[0])
    figure.text(0.06, 0.95, short(title, 90), fontsize=17, fontweight="bold", va="center", color=INK)
    figure.text(0.06, 0.905, short(facts, LONGEST_FACTS), fontsize=11.5, va="center", color=QUIET)
    handles = []
    for index, (name, band) in enumerate(zip(comparison.names, comparison.bands, strict=True)):
        final = comparison.finals[index]
        words = f"{short(name)}{'' if final is None else f'  {final:.4f}'}"
        mean = _mean(comparison, name)
        words += f"  (band: {band.seeds} seeds{'' if mean is None else f', mean {mean:.4f}'})" if band else ""
        handles.append(Line2D([], [], color=RUN_COLOURS[index], marker=RUN_MARKERS[index], linewidth=2, label=words))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.055, 0.885),
        ncols=NAMES_A_ROW,
        frameon=False,
        fontsize=10.5,
    )
    bars = (
        f"; bars: final loss, whole split, and 1.96 SD of seed noise ({_noise(comparison):.4f})"
        if _noise(comparison)
        else ""
    )
    figure.text(
        0.06, 0.03, f"curves: {printable(comparison.scored)}{bars}", fontsize=SMALL_SIZE, va="center", color=QUIET
    )


def _figures(pair: Pair) -> str:
    """Return the losses and the difference of the only pair; where a side has several seeds, they are of means."""
    if pair.verdict is None:
        return ""
    figures = verdict_line(pair).partition(": ")[2]
    return f"means over seeds: {figures}" if max(pair.seeds) > 1 else figures


def _mean(comparison: Comparison, name: str) -> float | None:
    """Return the mean of a run's seeds in a verdict on the curves' own scale; None without one."""
    for pair in comparison.pairs:
        if pair.losses is not None and pair.scale == comparison.scale and not comparison.on:
            for side, loss, seeds in zip((pair.first, pair.second), pair.losses, pair.seeds, strict=True):
                if side == name and seeds > 1:
                    return loss
    return None
