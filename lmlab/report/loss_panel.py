"""The panel of loss curves, and the limits of its vertical axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lmlab.report.curves import Against, CurveData, Series, mixed_texts, mixed_tokens
from lmlab.report.labels import short
from lmlab.report.lines import EndLabel, draw_series, end_label
from lmlab.report.style import RUN_COLOURS, RUN_MARKERS, TRAIN, TRAIN_DARK, VALID

STEEP_SHARE = 0.08  # of the axis, from its start: losses there may leave the panel at the top
SMALLEST_SPAN = 0.02  # of the losses: a smaller span would magnify the noise of a flat curve
MOST_DOTS = 60


def draw_losses(
    axes: Axes, curves: Sequence[CurveData], against: Against, level_lines: Sequence[float]
) -> list[EndLabel]:
    """Draw the curves, and set the limits of the vertical axis, which include the level lines; return the end labels."""
    axes.set_title(_title(curves))
    if len(curves) == 1:
        ends, followed = _draw_one(axes, curves[0], against)
    else:
        drawn = [_draw_of_several(axes, index, data, against) for index, data in enumerate(curves)]
        ends = [end for end, _ in drawn]
        followed = [series for _, many in drawn for series in many]
    axes.set_ylim(*limits(followed, against, level_lines))
    return ends


def _title(curves: Sequence[CurveData]) -> str:
    """Return the title with the unit of the vertical axis, and a reason or caveat where needed."""
    per_byte = curves[0].scale == "bits per byte"
    title = "validation loss, bits per byte" if per_byte else f"loss, {curves[0].scale}"
    if mixed_texts(curves):
        return f"{title} (the validation texts differ, so these losses can't be compared: lmlab compare --on TEXT)"
    if per_byte:
        return f"{title} (the tokenizers differ, so nats a token can't be compared)"
    if mixed_tokens(curves):
        return f"{title} (the tokenizers differ, so these runs can't be compared)"
    if len(curves) > 1 and not all(data.tokenizer for data in curves):
        return f"{title} (comparable only where the tokens are the same, which is unknown for an imported log)"
    return title


def limits(followed: Sequence[Series], against: Against, lines: Sequence[float]) -> tuple[float, float]:
    """Return the vertical limits: everything except a steep start, unless including it would add less than a quarter to the
    height."""
    values = np.concatenate([series.heights() for series in followed] + [np.asarray(lines, dtype=np.float64)])
    places = np.concatenate([series.places(against) for series in followed] + [np.full(len(lines), np.inf)])
    places, values = places[np.isfinite(values)], values[np.isfinite(values)]
    end = max([0.0, *(series.places(against)[-1] for series in followed if len(series))])
    later = np.concatenate([values[places >= STEEP_SHARE * end], _crossings(followed, against, STEEP_SHARE * end)])
    low, high, highest = (
        float(values.min()),
        float(later.max() if len(later) else values.max()),
        float(values.max()),
    )
    if len(later) < 4 or highest - low <= 1.25 * (high - low):
        high = highest
    span = max(high - low, SMALLEST_SPAN * abs(high), 1e-6)
    middle = (low + high) / 2
    return middle - 0.6 * span, middle + 0.58 * span


def _crossings(followed: Sequence[Series], against: Against, place: float) -> NDArray[np.float64]:
    """Interpolate the drawn lines at `place`: a curve of few values stays steep beyond it."""
    known = [series.finite() for series in followed]
    around = [one for one in known if len(one) and one.places(against)[0] < place < one.places(against)[-1]]
    return np.array([float(np.interp(place, one.places(against), one.heights())) for one in around])


def _draw_one(axes: Axes, data: CurveData, against: Against) -> tuple[list[EndLabel], list[Series]]:
    ends, followed = [], []
    if len(data.train.finite()):
        evaluated = len(data.train_scored.finite()) > 0
        mean = draw_series(axes, data.train, against, TRAIN, smoothing="mean", width=1.0 if evaluated else 1.8)
        followed.append(mean)
        ends.append(end_label(mean, against, f"{mean.finite().values[-1]:.4f}  training batches", TRAIN))
    for series, words, colour, style in (
        (data.train_scored, "training text" if data.source else "training text, no dropout", TRAIN_DARK, (0, (4, 1.5))),
        (data.valid, "validation, a sample" if data.sampled else "validation", VALID, "-"),
    ):
        measured = series.finite()
        if not len(measured):
            continue
        size = 4 if len(series) <= MOST_DOTS else 0
        axes.plot(
            series.places(against),
            series.heights(),
            color=colour,
            linewidth=2.2,
            linestyle=style,
            marker="o",
            markersize=size,
        )
        followed.append(series)
        ends.append(end_label(series, against, f"{measured.values[-1]:.4f}  {words}", colour))
    if _draw_whole_split(axes, data, against, VALID):
        followed.append(data.final)
        last = data.final.finite().values[-1]
        ends.append(end_label(data.final, against, f"{last:.4f}  whole validation split", VALID))
    return ends, followed


def _draw_of_several(axes: Axes, index: int, data: CurveData, against: Against) -> tuple[EndLabel, list[Series]]:
    colour, followed = RUN_COLOURS[index], []
    if len(data.train.finite()):
        before = len(axes.get_lines())
        followed.append(draw_series(axes, data.train, against, colour, smoothing="mean", width=1.0))
        for line in axes.get_lines()[before:]:
            line.set_alpha(0.55 if line.get_alpha() is None else 0.08)
    if len(data.valid.finite()):
        every = max(1, len(data.valid) // 8)
        axes.plot(
            data.valid.places(against), data.valid.heights(), color=colour, linewidth=2.4, marker=RUN_MARKERS[index],
            markersize=6, markevery=(index % every, every) if every > 1 else 1,
        )  # fmt: skip
        followed.append(data.valid)
    if _draw_whole_split(axes, data, against, colour):
        followed.append(data.final)
    best = data.best()
    if best is None:
        words = f"{short(data.name)}, training {followed[0].finite().values[-1]:.4f}"
        return end_label(followed[0], against, words, colour), followed
    words = f"{best.loss:.4f}  {short(data.name)}{' (a sample)' if best.whole is False else ''}"
    # The label points to the mark with its value: a square of the whole split, or the ring of the best evaluation.
    source = data.final if len(data.final.finite()) else data.valid
    return end_label(source.at(best.step), against, words, colour), followed


def _draw_whole_split(axes: Axes, data: CurveData, against: Against, colour: str) -> bool:
    """Draw squares for the scores over the whole split; return whether there are any."""
    if not len(data.final.finite()):
        return False
    look: dict[str, Any] = {
        "marker": "s",
        "linestyle": "",
        "color": colour,
        "markeredgecolor": "white",
        "markersize": 7,
    }
    axes.plot(data.final.places(against), data.final.heights(), clip_on=False, zorder=7, **look)
    return True
