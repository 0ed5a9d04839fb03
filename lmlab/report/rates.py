"""Plot a search for the learning rate: loss over rate at each length, the fitted parabola, the optimum's interval."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import rates_in_words, short, small
from lmlab.report.style import INK, QUIET, RUN_COLOURS, RUN_MARKERS, SETTINGS, SMALL_SIZE
from lmlab.scaling.estimate import LEVEL
from lmlab.study.tune.halving import at
from lmlab.study.tune.optimum import REACH, Optimum, mean_losses
from lmlab.study.tune.result import Tuning

LEFT = 0.085
INCHES = (10.0, 6.25)
HEADROOM = 2.2
"""The axis ends at this multiple of the spread of the better rates: diverging ones would flatten the rest."""
LEAST_SPREAD = 0.05


def write_rates(result: Tuning, folder: Path) -> list[Path]:
    """Write rates.svg and rates.png in `folder`; none where nothing was measured."""
    if not any(math.isfinite(loss) for loss in result.losses.values()):
        return []
    return write_figure(draw_rates(result), folder, "rates")


def draw_rates(result: Tuning) -> Figure:
    """Return the figure, 1000 x 625 pixels."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=INCHES, dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        figure.subplots_adjust(left=LEFT, right=0.97, top=0.84, bottom=0.12)
        rates = sorted({run.rate for run in result.losses})
        axes.set_xscale("log", base=2)
        ends = [result.rate_of(rates[0]), result.rate_of(rates[-1]), *_law_rates(result)]
        axes.set_xlim(min(ends) / 2**0.5, max(ends) * 2**0.5)
        top, bottom = _limits(result)
        axes.set_ylim(bottom, top)
        found = result.optimum()
        if found is not None:
            _draw_optimum(axes, result, found)
        _draw_losses(axes, result, top)
        axes.axvline(result.recipe.optim.lr, color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        axes.annotate(
            "the recipe's",
            (result.recipe.optim.lr, 0.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=SMALL_SIZE,
            color=QUIET,
        )
        _draw_laws(axes, result)
        words = rates_in_words([result.rate_of(rate) for rate in rates])
        axes.set_xticks(list(words), list(words.values()))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("peak learning rate (optim.lr)")
        axes.set_title("validation loss, nats a token")
        _legend(axes)
        _titles(figure, result)
        return figure


def _limits(result: Tuning) -> tuple[float, float]:
    """Return (top, bottom) limits that show all lengths near their best, and cut off rates that fail."""
    best = [min(losses.values()) for losses in (at(result.losses, steps) for steps in result.rungs) if losses]
    finite = [loss for loss in best if math.isfinite(loss)]
    near = [
        loss
        for steps in result.rungs
        for loss in sorted(value for value in at(result.losses, steps).values() if math.isfinite(value))[:4]
    ]
    spread = max(LEAST_SPREAD, max(near) - min(finite))
    # The lowest single seed lies below its rate's mean.
    lowest = min(loss for loss in result.losses.values() if math.isfinite(loss))
    return min(finite) + HEADROOM * spread, lowest - 0.15 * spread


def _draw_losses(axes: Axes, result: Tuning, top: float) -> None:
    """Draw a line for each length, and every training of the longest as a point."""
    for place, steps in enumerate(reversed(result.rungs)):
        runs = {run: loss for run, loss in result.losses.items() if run.steps == steps and math.isfinite(loss)}
        if not runs:
            continue
        colour, marker = RUN_COLOURS[place], RUN_MARKERS[place]
        means = mean_losses(runs)
        rates = sorted(means)
        places = [result.rate_of(rate) for rate in rates]
        longest = place == 0
        axes.plot(
            places,
            [means[rate] for rate in rates],
            color=colour,
            marker=marker,
            markersize=7 if longest else 5,
            linewidth=1.0 if longest else 1.3,
            linestyle="none" if longest else "-",
            alpha=1.0 if longest else 0.75,
            label=f"{steps:,} steps",
            zorder=4 if longest else 3,
        )
        if longest and any(run.seed for run in runs):
            axes.plot(
                [result.rate_of(run.rate) for run in runs],
                list(runs.values()),
                color=colour,
                marker="_",
                markersize=11,
                linestyle="none",
                label="single seeds",
                zorder=3,
            )
        for rate in rates:
            if means[rate] > top:
                axes.annotate(
                    f"↑ {means[rate]:.2f}",
                    (result.rate_of(rate), 1.0),
                    xycoords=axes.get_xaxis_transform(),
                    xytext=(0, -14 - 12 * place),
                    textcoords="offset points",
                    ha="center",
                    fontsize=SMALL_SIZE,
                    color=colour,
                )


def _draw_optimum(axes: Axes, result: Tuning, found: Optimum) -> None:
    """Draw the parabola within its range, and the interval as a band."""
    place = found.place
    axes.axvspan(result.rate_of(place.low), result.rate_of(place.high), color=RUN_COLOURS[0], alpha=0.10, linewidth=0)
    axes.axvline(result.rate_of(place.value), color=RUN_COLOURS[0], linewidth=1.4, zorder=2)
    measured = sorted({run.rate for run in result.losses if run.steps == result.steps})
    ends = max(measured[0], place.value - REACH), min(measured[-1], place.value + REACH)
    along = np.linspace(*ends, 100)
    axes.plot(
        [result.rate_of(one) for one in along],
        found.loss + found.curvature * (along - place.value) ** 2,
        color=RUN_COLOURS[0],
        linewidth=1.6,
        zorder=2,
    )
    axes.annotate(
        f"best {small(float(f'{result.rate_of(place.value):.2g}'))}",
        (result.rate_of(place.value), 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(5, -14),
        textcoords="offset points",
        fontsize=11,
        fontweight="bold",
        color=RUN_COLOURS[0],
    )


def _draw_laws(axes: Axes, result: Tuning) -> None:
    """Draw the band of published laws as a bar above the horizontal axis, where they apply to the model that was trained."""
    rates = _law_rates(result)
    if rates:
        band = {"color": RUN_COLOURS[5], "alpha": 0.55, "linewidth": 0, "label": "published laws"}
        axes.axvspan(min(rates), max(rates), ymin=0.0, ymax=0.022, **band)


def _law_rates(result: Tuning) -> list[float]:
    return [law.rate for law in result.laws] if result.measured_on is result.recipe else []


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, frameon=False, fontsize=SMALL_SIZE)


def _titles(figure: Figure, result: Tuning) -> None:
    best = result.best_rate()
    tried = result.best_tried() if result.finished else None
    without = (
        "no optimum yet" if tried is None else f"lowest of those tried {small(result.rate_of(tried))}, no interval"
    )
    facts = (
        without
        if best is None
        else (
            f"best {small(float(f'{best.value:.2g}'))}, {LEVEL:.0%} interval {small(float(f'{best.low:.2g}'))} to "
            f"{small(float(f'{best.high:.2g}'))}"
        )
    )
    if result.measured_on is not result.recipe:
        facts += f"  ·  measured at width {result.measured_on.model.width}"
    figure.text(
        LEFT,
        0.955,
        f"Learning rate of {short(result.recipe.name, 50)}",
        fontsize=17,
        fontweight="bold",
        va="center",
        color=INK,
    )
    figure.text(LEFT, 0.91, facts, fontsize=11.5, va="center", color=QUIET)
