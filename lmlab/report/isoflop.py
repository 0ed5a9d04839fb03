"""The IsoFLOP plot of a plan: the expected loss of each size with the same FLOPs, and the position of the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from lmlab import LabError, printable
from lmlab.report.figure import write_figure
from lmlab.report.labels import amount, short
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SETTINGS, SMALL_SIZE, VALID
from lmlab.scaling.arithmetic import FLOPS_A_TOKEN
from lmlab.scaling.law import effective_tokens

INCHES = (9.0, 6.0)
BUDGETS = (0.25, 1.0, 4.0, 16.0)
"""Multiples of the plan's FLOPs."""
SPAN = 30.0
"""The range of sizes, as a factor below and above the model's."""
POINTS = 121
FEWEST = 3
"""A curve with fewer sizes isn't drawn."""

Law = Callable[[float, float], float | None]
Array = NDArray[np.float64]


def draw_isoflop(law: Law, rests_on: str, name: str, parameters: float, tokens: float, unique_tokens: float) -> Figure:
    """Draw loss by size for a quarter, all, four and sixteen times the FLOPs (6 N D) of a model with so many parameters and tokens.

    `law` takes parameters and fresh tokens, and returns None outside its range, where curves end; LabError where it doesn't cover
    the model itself. The text has `unique_tokens`: repeated tokens count for less, in the curves as in the plan.
    """

    def loss(size: float, read: float) -> float:
        found = law(size, effective_tokens(read, unique_tokens))
        return math.nan if found is None else found

    here = loss(parameters, tokens)
    if math.isnan(here):
        raise LabError(f"there is no picture of other sizes: no law covers {name}; --ladder makes one")

    sizes = parameters * np.geomspace(1 / SPAN, SPAN, POINTS)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=INCHES, dpi=100)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.86, top=0.83, bottom=0.11)
        curves = []
        for colour, share in zip(RUN_COLOURS, BUDGETS, strict=False):
            flops = share * FLOPS_A_TOKEN * parameters * tokens
            losses = np.array([loss(size, flops / FLOPS_A_TOKEN / size) for size in sizes])
            known = np.isfinite(losses)
            if known.sum() < FEWEST:
                continue
            axes.plot(sizes, losses, color=colour, linewidth=2.2)
            best = int(np.nanargmin(losses))
            # At the end of the law's range the best size is unknown.
            if known[max(0, best - 1)] and known[min(best + 1, POINTS - 1)] and 0 < best < POINTS - 1:
                axes.plot(sizes[best], losses[best], "o", color=colour, markersize=7, markerfacecolor="white", zorder=3)
            curves.append((sizes, losses, f"{flops:.1e} FLOPs", colour))
        axes.plot(parameters, here, "D", color=VALID, markersize=9, zorder=4)
        axes.annotate(
            f"{short(name)}: {here:.2f}",
            (parameters, here),
            (10, -16),
            textcoords="offset points",
            color=INK,
            fontsize=SMALL_SIZE,
        )
        _finish(axes, curves, here)
        figure.text(
            0.09, 0.93, "Expected loss of other model sizes at equal FLOPs", fontsize=15, fontweight="bold", color=INK
        )
        figure.text(
            0.09,
            0.88,
            printable(f"circles: the best size for that many FLOPs; {rests_on}"[:120]),
            fontsize=SMALL_SIZE,
            color=QUIET,
        )
        return figure


def write_isoflop(figure: Figure, folder: Path) -> list[Path]:
    """Write isoflop.svg and isoflop.png in `folder`, which is created if necessary."""
    return write_figure(figure, folder, "isoflop")


def _finish(axes: Axes, curves: list[tuple[Array, Array, str, str]], here: float) -> None:
    """Set scales and limits, and label each curve where it leaves the picture."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("parameters in matrix products")
    axes.set_ylabel("expected loss, nats a token")
    low = min(float(np.nanmin(losses)) for _, losses, _, _ in curves)
    # Far sizes would flatten the minima, which are what matters.
    top = here + 1.5 * max(here - low, 0.02 * here)
    axes.set_ylim(low - 0.06 * (top - low), top)
    for sizes, losses, text, colour in curves:
        inside = np.flatnonzero(losses < top)
        if len(inside):
            last = inside[-1]
            leaves = last < len(losses) - 1 and bool(np.isfinite(losses[last + 1]))
            axes.annotate(
                text,
                (sizes[last], losses[last]),
                (0, 10) if leaves else (5, 0),
                textcoords="offset points",
                color=colour,
                ha="center" if leaves else "left",
                va="center",
                fontsize=SMALL_SIZE,
            )
