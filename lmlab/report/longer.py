"""Plot a run trained for longer: its losses, the expected ones with their interval, and the learning rate below."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmlab import LabError, printable
from lmlab.planning.losses.longer import Longer, loss_at
from lmlab.report.figure import PIXELS_AN_INCH, write_figure
from lmlab.report.labels import short
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SETTINGS, SMALL_SIZE, quiet_ticks

INCHES = (10.0, 6.25)
POINTS = 24
"""Points of the expected losses."""
SHOWN_FROM = 0.05
"""Share of the run's steps before which losses aren't drawn: they would flatten the rest."""
MEASURED, EXPECTED = RUN_COLOURS[0], RUN_COLOURS[1]


def write_longer(longer: Longer, folder: Path) -> list[Path]:
    """Write longer.svg and longer.png in `folder`, which is created if necessary; LabError where no loss is known."""
    return write_figure(draw_longer(longer), folder, "longer")


def draw_longer(longer: Longer) -> Figure:
    """Return the figure, 1000 x 625 pixels; LabError where no loss is known."""
    if not any(place.loss for place in longer.places):
        raise LabError(f"there is no picture of a longer {longer.facts.name}: {longer.unknown}")
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=INCHES, dpi=PIXELS_AN_INCH)
        FigureCanvasAgg(figure)
        losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        figure.subplots_adjust(left=0.085, right=0.97, top=0.86, bottom=0.1, hspace=0.12)
        _draw_losses(losses, longer)
        path = longer.path
        rates.plot(path.steps, path.shares, color=QUIET, linewidth=1.6)
        rates.axvline(longer.facts.steps, color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)))
        rates.set_ylim(0.0, 1.08 * float(path.shares.max()))
        rates.set_ylabel("learning rate\n(share of its peak)")
        rates.set_xlabel("steps")
        rates.set_xlim(0, path.length)
        for axes in (losses, rates):
            quiet_ticks(axes)
        facts = longer.facts
        figure.text(0.085, 0.945, printable(f"{short(facts.name)} trained for longer"), fontsize=14, color=INK)
        figure.text(
            0.085,
            0.9,
            "validation loss, measured until the dotted line; then extrapolated from the run's own curve with its 80% interval",
            fontsize=SMALL_SIZE,
            color=QUIET,
        )
        return figure


def _draw_losses(axes: Axes, longer: Longer) -> None:
    facts = longer.facts
    measured = [(step, loss) for step, loss in facts.curve if step >= SHOWN_FROM * facts.steps]
    axes.plot(*zip(*measured, strict=True), color=MEASURED, linewidth=2.2, marker="o", markersize=4)
    axes.plot(facts.steps, facts.loss, "s", color=MEASURED, markersize=7)
    steps = np.linspace(facts.steps, longer.path.length, POINTS + 1)[1:]
    found = [(step, loss) for step in steps if (loss := loss_at(facts, longer.path, round(step))) is not None]
    if found:
        at = [facts.steps, *(step for step, _ in found)]
        low, middle, high = (
            [facts.loss, *(getattr(loss, name) for _, loss in found)] for name in ("low", "value", "high")
        )
        axes.fill_between(at, low, high, color=EXPECTED, alpha=0.18, linewidth=0)
        axes.plot(at, middle, color=EXPECTED, linewidth=2.2)
        axes.annotate(
            f"{middle[-1]:.2f} ({low[-1]:.2f} to {high[-1]:.2f})",
            (at[-1], middle[-1]),
            (-4, 9),
            textcoords="offset points",
            ha="right",
            color=EXPECTED,
            fontsize=SMALL_SIZE,
        )
    axes.annotate(
        f"{facts.loss:.2f}",
        (facts.steps, facts.loss),
        (0, 9),
        textcoords="offset points",
        color=MEASURED,
        fontsize=SMALL_SIZE,
    )
    axes.axvline(facts.steps, color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)))
    axes.set_ylabel("loss, nats a token")
