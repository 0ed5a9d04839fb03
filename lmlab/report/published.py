"""Published losses beside the measured ones: level lines for those without a step, diamonds for those at a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from lmlab.recipe import Claim
from lmlab.report.curves import Against, CurveData
from lmlab.report.labels import short
from lmlab.report.placing import Placer, above_axis, along, around
from lmlab.report.style import QUIET, SMALL_SIZE, TRAIN, VALID

LOSSES = {"valid_loss": "validation", "train_loss": "training"}
COLOURS = {"valid_loss": VALID, "train_loss": TRAIN}
LONGEST_SOURCE = 64
MOST_SOURCES = 2
MOST_NAMED = 3  # diamonds of one kind; more are named together
DOTTED = (0, (1, 2.2))


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published numbers to draw in a picture, by how they are drawn. Those common to several runs are drawn once."""

    levels: tuple[tuple[Claim, str], ...] = ()
    """Level lines with their labels."""
    points: tuple[tuple[Claim, float], ...] = ()
    """Losses at a step, with their position on the horizontal axis."""
    turns: tuple[tuple[Claim, float], ...] = ()
    """Steps at which validation was reported to turn up, with the position on the horizontal axis."""


def published(curves: Sequence[CurveData], against: Against, end: float) -> Published:
    """Return what to draw on an axis that ends at `end`; for several runs, validation only.

    Of the losses at a later step, the lowest of each kind becomes a level line, as a target.
    """
    kinds = tuple(LOSSES) if len(curves) == 1 else ("valid_loss",)
    placed: dict[Claim, float] = {}
    for data in curves:
        for claim in data.claims:
            step = int(claim.value) if claim.metric == "turning_step" else claim.step
            placed.setdefault(claim, math.nan if step is None else _place(data, step, against))
    losses = {claim: place for claim, place in placed.items() if claim.metric in kinds}
    levels = [(claim, f"published {claim.value:g}") for claim in losses if claim.step is None]
    for metric in kinds:
        later = [claim for claim, place in losses.items() if claim.metric == metric and place > end]
        if later:
            lowest = min(later, key=lambda claim: claim.value)
            levels.append((lowest, f"published {lowest.value:g} at step {lowest.step:,}"))
    return Published(
        levels=tuple(levels),
        points=tuple((claim, place) for claim, place in losses.items() if place <= end),
        turns=tuple(
            (claim, place) for claim, place in placed.items() if claim.metric == "turning_step" and place <= end
        ),
    )


def draw_published(axes: Axes, claims: Published, alone: bool) -> None:
    """Draw dotted lines and diamonds, in the colours of the one run's curves or in grey where there are several."""
    for claim, _ in claims.levels:
        axes.axhline(claim.value, color=_colour(claim, alone), linestyle=DOTTED, linewidth=1.6)
    for _, place in claims.turns:
        axes.axvline(place, color=QUIET, linestyle=DOTTED, linewidth=1.6)
    for claim, place in _in_view(axes, claims):
        axes.plot(
            [place], [claim.value], marker="D", markersize=7, color="white", markeredgecolor=_colour(claim, alone),
            markeredgewidth=1.6, zorder=5, clip_on=False,
        )  # fmt: skip


def name_published(axes: Axes, placer: Placer, claims: Published, alone: bool) -> None:
    """Label them: with values, or where there are many diamonds of one kind with that kind."""
    points = _in_view(axes, claims)
    for metric, words in LOSSES.items():
        mine = [(claim, place) for claim, place in points if claim.metric == metric]
        names = {claim: f"published {claim.value:g}" for claim, _ in mine}
        if len(mine) > MOST_NAMED:
            names = {mine[len(mine) // 2][0]: f"published, {words}"}
        for claim, place in mine:
            if claim in names:
                look = {"color": _colour(claim, alone), "fontsize": SMALL_SIZE}
                placer.put(names[claim], around(place, claim.value), **look)
    for claim, words in claims.levels:
        placer.put(words, along(claim.value), color=_colour(claim, alone), fontsize=SMALL_SIZE)
    for claim, place in claims.turns:
        placer.put(f"published turn at step {claim.value:,.0f}", above_axis(place), color=QUIET, fontsize=SMALL_SIZE)


def sources(claims: Published) -> str:
    """Return the sources of the published numbers in the picture, in one line; empty where there are none."""
    shown = [claim for claim, _ in (*claims.levels, *claims.points, *claims.turns)]
    names = list(dict.fromkeys(short(claim.source, LONGEST_SOURCE) for claim in shown))
    more = f" and {len(names) - MOST_SOURCES} more" if len(names) > MOST_SOURCES else ""
    return f"published: {'; '.join(names[:MOST_SOURCES])}{more}" if names else ""


def _in_view(axes: Axes, claims: Published) -> list[tuple[Claim, float]]:
    low, high = axes.get_ylim()
    return [(claim, place) for claim, place in claims.points if low <= claim.value <= high]


def _colour(claim: Claim, alone: bool) -> str:
    return COLOURS[claim.metric] if alone else QUIET


def _place(data: CurveData, step: int, against: Against) -> float:
    """Return the position of a published step on the horizontal axis; NaN where the lines have no tokens."""
    return float(step) if against == "steps" else data.tokens_at(step)
