"""One curve in a panel, and the label at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from lmlab.report.curves import Against, Series, running_mean
from lmlab.report.labels import spread
from lmlab.report.placing import widest

Smoothing = Literal["none", "mean", "geometric"]  # the last for values whose ratios matter, such as norms
SMOOTH_FROM = 40  # values; fewer are drawn without smoothing
PADDING = 16  # pixels between a panel and the labels at its right: the ring of a best evaluation at the edge takes nine
NEAR_EDGE = (
    0.97  # a curve that ends before this share of the width gets a dotted leader, since a solid one looks like data
)
LEAST_RIGHT, MOST_RIGHT = 0.6, 0.93


@dataclass(frozen=True, kw_only=True)
class EndLabel:
    """Text to the right of a panel, for the curve that ends at (x, y)."""

    x: float
    y: float
    words: str
    colour: str


def draw_series(
    axes: Axes, series: Series, against: Against, colour: str, *, smoothing: Smoothing, width: float = 1.6
) -> Series:
    """Draw a curve; a long noisy one pale with its running mean on top. Return the series of the most visible line."""
    places, heights = series.places(against), series.heights()
    if smoothing == "none" or len(series) < SMOOTH_FROM:
        marker = "o" if len(series.finite()) == 1 else None
        axes.plot(places, heights, color=colour, linewidth=width, marker=marker, markersize=5)
        return series
    span = max(5, len(series) // 40)
    if smoothing == "geometric":
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.exp(running_mean(np.log(heights), span))
    else:
        mean = running_mean(heights, span)
    mean[~np.isfinite(heights)] = np.nan  # a gap stays a gap
    axes.plot(places, heights, color=colour, linewidth=0.7, alpha=0.28)
    axes.plot(places, mean, color=colour, linewidth=width)
    return Series(steps=series.steps, tokens=series.tokens, values=tuple(mean.tolist()))


def end_label(series: Series, against: Against, words: str, colour: str) -> EndLabel:
    """Return the label of a curve that has at least one finite value."""
    measured = series.finite()
    return EndLabel(x=float(measured.places(against)[-1]), y=measured.values[-1], words=words, colour=colour)


def reserve_margin(figure: Figure, labels: Sequence[EndLabel]) -> None:
    """Widen the margin at the right for the widest label."""
    room = widest(figure, [label.words for label in labels]) + 2 * PADDING / figure.bbox.width
    figure.subplots_adjust(right=min(MOST_RIGHT, max(LEAST_RIGHT, 1.0 - room)))


def write_end_labels(axes: Axes, labels: Sequence[EndLabel]) -> list[Text]:
    """Write the labels to the right of a panel whose limits and size are final, level with their curves' ends or as near as
    possible without overlapping; a thin line leads to each."""
    panel = axes.get_window_extent()
    wanted = [float(axes.transData.transform((label.x, label.y))[1]) for label in labels]
    wanted = [min(max(place, panel.y0), panel.y1) for place in wanted]
    height = 1.5 * axes.figure.dpi / 72 * 11
    texts = []
    for label, place in zip(labels, spread(wanted, height, panel.y0, panel.y1), strict=True):
        share = (place - panel.y0) / panel.height
        edge = 1.0 + (PADDING - 3) / panel.width
        start = axes.transAxes.inverted().transform(axes.transData.transform((label.x, label.y)))
        axes.plot(
            [start[0], edge], [min(max(start[1], 0.0), 1.0), share], transform=axes.transAxes, color=label.colour,
            linewidth=0.9, alpha=0.55, linestyle="-" if start[0] > NEAR_EDGE else (0, (1, 3)), clip_on=False,
        )  # fmt: skip
        texts.append(
            axes.text(
                edge + 3 / panel.width, share, label.words, color=label.colour, va="center", transform=axes.transAxes
            )
        )
    return texts
