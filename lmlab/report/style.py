"""The style of every figure: colours for colour-blind readers, unobtrusive axes, text that stays text in SVG."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lmlab.report.labels import amount

# Okabe and Ito's palette (Color Universal Design, 2008) without its yellow, which is too pale for a line on white; grey
# takes its place. The order keeps neighbours far apart.
RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A")
# A second cue beside the colour, for greyscale print. A square is the score over the whole split.
RUN_MARKERS = ("o", ">", "^", "D", "v", "P", "X", "*")
TRAIN, TRAIN_DARK, VALID, QUIET, INK = "#0072B2", "#004B75", "#D55E00", "#6B7280", "#1F2937"
SMALL_SIZE = 9.5
GRID = "#E5E7EB"

# Typed loosely: matplotlib's own type lists every setting.
SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#9CA3AF",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlecolor": QUIET,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.unicode_minus": False,  # as in the numbers beside the axes
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "text.parse_math": False,  # a name may hold a dollar sign
    # Text stays text, so that the picture can be searched; and equal curves give equal bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "lmlab",
}


def quiet_ticks(axes: Axes, most: int = 7) -> None:
    """Set few ticks on the horizontal axis, with short numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
