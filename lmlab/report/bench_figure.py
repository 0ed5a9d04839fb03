"""Plot a benchmark: throughput, milliseconds and memory by batch, a curve for each way to compute a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lmlab import LabError
from lmlab.planning.benchmark.result import Bench, BenchRow
from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import amount, short
from lmlab.report.style import INK, QUIET, RUN_COLOURS, RUN_MARKERS, SETTINGS, SMALL_SIZE

INCHES = (12.0, 8.0)
LEFT, RIGHT, TOP, BOTTOM = 0.075, 0.975, 0.785, 0.085
MOST_CURVES = len(RUN_COLOURS)
HEADROOM = 1.04  # a marker at the top is drawn whole
FAILED = "✕"
FEWEST_TICKS, MOST_TICKS = 3, 9


def draw_bench(bench: Bench) -> Figure:
    """Return the figure, 1200 x 800 pixels; LabError where nothing was measured."""
    groups = _groups(bench)
    if not groups:
        raise LabError("nothing was measured, so there is nothing to draw")
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=INCHES, dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        rate, time, memory = figure.subplot_mosaic("AB;AC", width_ratios=[1.7, 1]).values()
        figure.subplots_adjust(left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM, hspace=0.34, wspace=0.2)
        context = bench.recipe.model.context
        _draw(rate, groups, "tokens a second", lambda row, seconds: row.combination.batch * context / seconds)
        _draw(time, groups, "milliseconds a step", lambda row, seconds: 1e3 * seconds)
        _draw(memory, groups, "peak memory, GB", lambda row, seconds: row.peak_memory_bytes / 1e9)
        time.set_yscale("log")
        time.yaxis.set_major_locator(FixedLocator(log_ticks(*time.get_ylim())))
        time.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        time.yaxis.set_minor_locator(NullLocator())
        for axes in (rate, memory):
            axes.set_ylim(0, HEADROOM * axes.get_ylim()[1])
        rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
        rate.set_xlabel("batch, sequences")
        memory.set_xlabel("batch, sequences")
        _mark_failures(rate, groups)
        _write_titles(figure, rate, bench)
        return figure


def write_bench(bench: Bench, stem: Path) -> list[Path]:
    """Write STEM.svg and STEM.png; LabError where they can't be written."""
    return write_figure(draw_bench(bench), stem.parent, stem.name)


def _groups(bench: Bench) -> dict[str, list[BenchRow]]:
    """Return the rows of each way to compute a step, by batch; those with the most batches first."""
    found: dict[str, list[BenchRow]] = {}
    for row in sorted(bench.rows, key=lambda row: row.combination.batch):
        found.setdefault(row.combination.how, []).append(row)
    measured = {how: rows for how, rows in found.items() if any(row.rounds for row in rows)}
    order = sorted(measured, key=lambda how: -len(measured[how]))[:MOST_CURVES]
    return {how: measured[how] for how in order}


def _draw(axes: Axes, groups: dict[str, list[BenchRow]], title: str, value: Callable[[BenchRow, float], float]) -> None:
    axes.set_title(title)
    axes.set_xscale("log", base=2)
    for index, (how, rows) in enumerate(groups.items()):
        measured = [row for row in rows if row.rounds]
        batches = [row.combination.batch for row in measured]
        middle = [value(row, row.step_seconds) for row in measured]
        ends = [sorted(value(row, seconds) for seconds in row.quartiles()) for row in measured]
        colour, marker = RUN_COLOURS[index], RUN_MARKERS[index]
        axes.plot(batches, middle, color=colour, marker=marker, markersize=5.5, linewidth=1.8, label=how)
        axes.vlines(
            batches, [low for low, _ in ends], [high for _, high in ends], color=colour, linewidth=1.4, alpha=0.55
        )
    every = sorted({row.combination.batch for rows in groups.values() for row in rows})
    axes.set_xticks(every)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: amount(place)))
    axes.xaxis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis: at 1, 2 and 5 of each decade, only at decades where those are many, and at evenly
    spaced round values where they are fewer than three.

    >>> log_ticks(3, 70), log_ticks(110, 135)
    ([5.0, 10.0, 20.0, 50.0], [110.0, 115.0, 120.0, 125.0, 130.0, 135.0])
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1.0, 2.0, 5.0), (1.0,)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            break
    if len(ticks) < FEWEST_TICKS:
        even = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        ticks = [float(tick) for tick in even if low <= tick <= high]
    return ticks


def _mark_failures(axes: Axes, groups: dict[str, list[BenchRow]]) -> None:
    """Draw a cross at the bottom for each batch that ran out of memory, or failed otherwise."""
    for index, rows in enumerate(groups.values()):
        for row in rows:
            if row.failed:
                words = "OOM" if row.failed == "out of memory" else "failed"
                place = (row.combination.batch, 0.015 + 0.05 * index)
                axes.text(
                    *place,
                    f"{FAILED} {words}",
                    transform=axes.get_xaxis_transform(),
                    color=RUN_COLOURS[index],
                    fontsize=SMALL_SIZE,
                    ha="center",
                    va="bottom",
                )


def _write_titles(figure: Figure, rate: Axes, bench: Bench) -> None:
    rounds = max((len(row.rounds) for row in bench.rows), default=0)
    spread = f"medians and quartiles of {rounds} round{'' if rounds == 1 else 's'}"
    facts = f"{bench.device}  ·  {bench.recipe.model.context:,} tokens a sequence  ·  {spread}"
    figure.text(
        LEFT,
        0.955,
        f"{short(bench.recipe.name, 60)}: training speed",
        fontsize=18,
        fontweight="bold",
        va="center",
        color=INK,
    )
    figure.text(LEFT, 0.915, facts, fontsize=11.5, va="center", color=QUIET)
    handles, names = rate.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(LEFT - 0.008, 0.895),
        ncols=4,
        frameon=False,
        fontsize=SMALL_SIZE,
    )
