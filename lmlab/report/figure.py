"""Plot one run or several: loss above, learning rate and gradient norm below, with a common horizontal axis.

Curves are labelled at their ends instead of in a legend.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lmlab.files import make_folder, write_bytes
from lmlab.report.curves import Against, CurveData, Series, on_one_scale
from lmlab.report.labels import amount, short, small
from lmlab.report.lines import EndLabel, draw_series, end_label, reserve_margin, write_end_labels
from lmlab.report.loss_panel import draw_losses
from lmlab.report.marks import draw_marks, name_marks
from lmlab.report.placing import Placer
from lmlab.report.published import Published, draw_published, name_published, published, sources
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SETTINGS, SMALL_SIZE, quiet_ticks

INCHES = (12.0, 9.0)
PIXELS_AN_INCH = 100
LEFT, TOP, BOTTOM = 0.065, 0.865, 0.085
DECIMALS_FROM = 0.002  # an axis with a lower maximum has exponents
RATES_APART = 4.0  # peaks of several runs' learning rates; a smaller one would be a flat line on a linear axis
RATES_BELOW = 1000.0  # that logarithmic axis begins at most this factor below the smallest peak
EQUAL_WIDTH = 2.2  # points by which a curve is wider than an equal one above it
LOG_FROM = 20.0  # a norm with a larger ratio of maximum to minimum has a logarithmic axis
START_PLACES = (0.02, 0.06, 0.12, 0.2)  # for the note on the maximum of the steep start, as shares of the width
RATE, NORM = "learning rate", "gradient norm"


def draw_curves(runs: Sequence[CurveData], against: Against = "steps") -> Figure:
    """Return the figure, 1200 x 900 pixels; panels for which no run has values are left out.

    Losses of different tokenizers share an axis only in bits per byte.
    """
    curves = on_one_scale(runs)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=INCHES, dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        below = {RATE: [data.rate for data in curves], NORM: [data.norm for data in curves]}
        below = {title: series for title, series in below.items() if any(len(one.finite()) for one in series)}
        panels = figure.subplots(
            1 + len(below), 1, sharex=True, squeeze=False, height_ratios=[3.6] + [1.0] * len(below)
        )[:, 0]
        figure.subplots_adjust(left=LEFT, top=TOP, bottom=BOTTOM, hspace=0.28)
        end = _end(curves, against)
        panels[0].set_xlim(0, end)
        claims = published(curves, against, end)
        ends = [draw_losses(panels[0], curves, against, [claim.value for claim, _ in claims.levels])]
        for axes, (title, series) in zip(panels[1:], below.items(), strict=True):
            ends.append(_draw_small(axes, title, series, against))
        reserve_margin(figure, [label for labels in ends for label in labels])
        _annotate_losses(panels[0], curves, against, claims)
        for axes, labels in zip(panels, ends, strict=True):
            write_end_labels(axes, labels)
        _write_titles(figure, curves, sources(claims))
        quiet_ticks(panels[-1])
        panels[-1].set_xlabel("tokens trained on" if against == "tokens" else "steps")
        return figure


def write_figure(figure: Figure, folder: Path, name: str, kinds: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write NAME.svg and NAME.png in `folder`, created if necessary; equal figures give equal bytes. LabError where it can't be
    written.

    Each is drawn in memory and written in one step, so that no incomplete picture is ever visible.
    """
    make_folder(folder, "choose another folder for the picture")
    written = []
    for kind in kinds:
        content = io.BytesIO()
        with matplotlib.rc_context(SETTINGS):
            metadata = {"Date": None} if kind == "svg" else {"Software": "lmlab"}
            figure.savefig(content, format=kind, dpi=PIXELS_AN_INCH, metadata=metadata)
        path = folder / f"{name}.{kind}"
        write_bytes(path, content.getvalue())
        written.append(path)
    return written


def _end(curves: Sequence[CurveData], against: Against) -> float:
    """Return the last measurement of any run, where the horizontal axis ends."""
    ends = [float(one.places(against)[-1]) for data in curves for one in (data.train, data.valid) if len(one)]
    return max([1.0, *ends])


def _write_titles(figure: Figure, curves: Sequence[CurveData], footer: str) -> None:
    title, facts = short(curves[0].name, 60), _facts(curves[0])
    if len(curves) > 1:
        title = f"Loss of {len(curves)} runs"
        facts = _legend(curves)
        turned = [turn for turn in (data.turn() for data in curves) if turn and turn.rose]
        facts += "  ·  dashed: validation turns up" if turned else ""
    figure.text(LEFT, 0.958, title, fontsize=18, fontweight="bold", va="center", color=INK)
    figure.text(LEFT, 0.922, facts, fontsize=11.5, va="center", color=QUIET)
    figure.text(LEFT, 0.02, footer, fontsize=SMALL_SIZE, va="center", color=QUIET)


def _power(value: float) -> str:
    """Format a decade of a logarithmic axis: 0.01 as "1e-2"."""
    return f"1e{round(math.log10(value))}"


def _legend(curves: Sequence[CurveData]) -> str:
    """Describe the lines and marks of several runs."""
    whole = any(len(data.final.finite()) for data in curves)
    parts = ["bold: validation, its best ringed" + ("" if whole else " and named")]
    parts += ["squares: the whole split, its best named"] if whole else []
    parts += ["thin: training batches"] if any(len(data.train) for data in curves) else []
    return "  ·  ".join(parts)


def _facts(data: CurveData) -> str:
    """Describe one run in one line: its length and its best."""
    longest = max((data.train, data.valid), key=lambda series: series.steps[-1] if len(series) else -1)
    facts = [f"{longest.steps[-1]:,} steps"]
    facts += [f"{amount(longest.tokens[-1])} tokens"] if data.counts_tokens else []
    best = data.best()
    if best:
        of = " (a sample)" if best.whole is False else ""
        facts.append(f"best validation loss{of} {best.loss:.4f} {data.scale} at step {best.step:,}")
    facts += [f"imported from {short(data.source, 40)}"] if data.source else []
    return "  ·  ".join(facts)


def _annotate_losses(axes: Axes, curves: Sequence[CurveData], against: Against, claims: Published) -> None:
    """Draw marks and published numbers, and then their labels, each where it covers least."""
    alone = len(curves) == 1
    draw_published(axes, claims, alone)
    draw_marks(axes, curves, against)
    placer = Placer(axes)
    if alone:
        name_marks(axes, placer, curves[0], against)
    name_published(axes, placer, claims, alone)
    losses = [value for data in curves for one in (data.train, data.valid) for value in one.finite().values]
    if max(losses, default=0.0) > axes.get_ylim()[1]:
        start = [
            {"xy": (x, 1.0), "xycoords": "axes fraction", "va": "top", "ha": "left", "offset": (0, -4)}
            for x in START_PLACES
        ]
        placer.put(f"↑ up to {max(losses):.2f}", start, color=QUIET, fontsize=SMALL_SIZE)


def _draw_small(axes: Axes, title: str, all_series: Sequence[Series], against: Against) -> list[EndLabel]:
    """Draw one of the lower panels; return the label of its curve's end, where there is only one."""
    axes.set_title(title)
    colours = RUN_COLOURS if len(all_series) > 1 else (INK,)
    followed = [
        draw_series(
            axes,
            series,
            against,
            colours[index],
            smoothing="geometric" if title == NORM else "none",
            # Of equal curves the lower one is visible on both sides of the upper one.
            width=1.4 + EQUAL_WIDTH * sum(series == other for other in all_series[index + 1 :]),
        )
        for index, series in enumerate(all_series)
        if len(series.finite())
    ]
    values = [value for series in all_series for value in series.finite().values if value > 0]
    peaks = [max(known) for series in all_series if (known := [value for value in series.finite().values if value > 0])]
    wide = title == NORM and values and max(values) > LOG_FROM * min(values)
    apart = title == RATE and len(peaks) > 1 and max(peaks) > RATES_APART * min(peaks)
    if wide or apart:
        axes.set_yscale("log")
        if apart:  # warm-up and decay approach 0, which a logarithmic axis can't reach
            axes.set_ylim(max(min(values) / 1.6, min(peaks) / RATES_BELOW), 1.6 * max(peaks))
            axes.set_title(f"{title}, logarithmic")
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value) if apart else small(value)))
    else:
        top = 1.12 * max(values, default=1.0)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=3))
        # All tick labels of one axis in one style.
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if top >= DECIMALS_FROM else small(value))
        )
    if len(all_series) > 1:
        return []
    return [end_label(followed[0], against, small(followed[0].finite().values[-1]), INK)]
