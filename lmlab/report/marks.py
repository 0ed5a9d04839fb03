"""Marks on the loss curves: the best evaluation, where validation turned up, resumes, losses that are not finite.

Marks are drawn first and labelled afterwards, since a label goes where it covers least of what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lmlab.report.curves import Against, CurveData
from lmlab.report.placing import Placer, above_axis, around, below_top
from lmlab.report.style import INK, QUIET, RUN_COLOURS, SMALL_SIZE, VALID


def draw_marks(axes: Axes, curves: Sequence[CurveData], against: Against) -> None:
    """Draw rings, dashed lines, ticks and crosses, for every run."""
    for index, data in enumerate(curves):
        alone = len(curves) == 1
        colour = VALID if alone else RUN_COLOURS[index]
        _draw_best(axes, data, against, colour, alone)
        _draw_events(axes, data, against, QUIET if alone else colour)


def name_marks(axes: Axes, placer: Placer, data: CurveData, against: Against) -> None:
    """Label one run's marks; with several runs, the labels at the right suffice."""
    turn = data.turn()
    if turn:
        x = float(data.valid.finite().places(against)[turn.index])
        if turn.rose:
            placer.put(f"validation turns up at step {turn.step:,}", below_top(x), color=VALID)
        kind = "best of the sample" if data.sampled else "best"
        placer.put(
            f"{kind} {turn.loss:.4f} at step {turn.step:,}", around(x, turn.loss), color=VALID, fontweight="bold"
        )
    resumes = data.resumes.places(against)
    if len(resumes):
        words = "resumed" if len(resumes) == 1 else f"resumed {len(resumes)} times"
        placer.put(words, above_axis(float(resumes[0])), color=QUIET, fontsize=SMALL_SIZE)
    broken = data.broken.places(against)
    if len(broken):
        placer.put("loss or gradient not finite", above_axis(float(broken[0])), color=INK, fontsize=SMALL_SIZE)


def _draw_best(axes: Axes, data: CurveData, against: Against, colour: str, alone: bool) -> None:
    turn = data.turn()
    if turn is None:
        return
    x = float(data.valid.finite().places(against)[turn.index])
    if turn.rose:
        low, high = axes.get_ylim()
        level = (turn.loss - low) / (high - low)
        top = 1.0 if alone else level
        axes.axvline(x, ymax=top, color=colour, linestyle=(0, (5, 3)), linewidth=1.2, alpha=0.8)
    axes.plot(
        [x],
        [turn.loss],
        "o",
        color="white",
        markeredgecolor=colour,
        markeredgewidth=2.4,
        markersize=11,
        zorder=6,
        clip_on=False,
    )


def _draw_events(axes: Axes, data: CurveData, against: Against, colour: str) -> None:
    on_axis: dict[str, Any] = {"linestyle": "", "transform": axes.get_xaxis_transform(), "zorder": 5}
    resumes, broken = data.resumes.places(against), data.broken.places(against)
    axes.plot(resumes, np.zeros(len(resumes)), marker="^", markersize=7, color=colour, clip_on=False, **on_axis)
    axes.plot(broken, np.full(len(broken), 0.025), marker="x", markersize=6, color=INK, **on_axis)
