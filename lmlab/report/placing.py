"""Place text inside a panel where it covers least: of several positions, the one with the fewest curve points and no other text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

HALO = [withStroke(linewidth=3.5, foreground="white")]
Candidate = dict[str, Any]
TEXT_ON_TEXT = 1000.0  # counts as many covered points
CLEARANCE = 3.0  # pixels around a text that count as its own
POINTS_A_LINE = 1500


def renderer_of(figure: Figure) -> RendererAgg:
    """Return the renderer that measures text."""
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    found: RendererAgg = canvas.get_renderer()  # type: ignore[no-untyped-call]
    return found


def beside(axes: Axes, share: float, shift: float, y: float, words: str, **look: Any) -> None:
    """Write text level with `y`, `shift` points to the right of that share of the panel's width; it may be outside the panel."""
    axes.annotate(
        words,
        (share, y),
        xycoords=axes.get_yaxis_transform(),
        xytext=(shift, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        **look,
    )


def widest(figure: Figure, labels: Sequence[str]) -> float:
    """Return the width of the widest label, as a share of the figure's."""
    widths = []
    for label in labels:
        text = figure.text(0, 0, label)
        widths.append(text.get_window_extent(renderer_of(figure)).width)
        text.remove()
    return float(max(widths, default=0.0) / figure.bbox.width)


class Placer:
    """Places text in one panel whose limits and size are final."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.renderer = renderer_of(axes.figure.figure)
        lines = [_in_pixels(line.get_xydata(), line.get_transform()) for line in axes.get_lines() if line.get_visible()]
        self.covered: NDArray[np.float64] = np.concatenate([np.empty((0, 2)), *lines])
        self.boxes: list[Bbox] = []

    def put(self, words: str, candidates: Sequence[Candidate], **look: Any) -> Text:
        """Write `words` at the best of the candidates: each a dict of `xy`, `offset` (points), `ha`, `va` and optionally
        `xycoords`; the earlier of two equally good ones is used."""
        best: tuple[float, Text] | None = None
        for candidate in candidates:
            text = self.axes.annotate(
                words,
                xy=candidate["xy"],
                xycoords=candidate.get("xycoords", "data"),
                xytext=candidate["offset"],
                textcoords="offset points",
                ha=candidate["ha"],
                va=candidate["va"],
                path_effects=HALO,
                annotation_clip=False,
                **look,
            )
            cost = self._cost(text.get_window_extent(self.renderer))
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, text)
            else:
                text.remove()
        assert best is not None
        self.boxes.append(best[1].get_window_extent(self.renderer))
        return best[1]

    def _cost(self, box: Bbox) -> float:
        panel, box = self.axes.get_window_extent(self.renderer), box.padded(CLEARANCE)
        inside = np.all((self.covered >= box.min) & (self.covered <= box.max), axis=1).sum()
        clash = sum(bool(box.overlaps(other)) for other in self.boxes)
        outside = max(0.0, panel.x0 - box.x0, box.x1 - panel.x1, panel.y0 - box.y0, box.y1 - panel.y1)
        found: float = float(inside) + TEXT_ON_TEXT * clash + 50.0 * outside
        return found


def _in_pixels(points: Any, transform: Any) -> NDArray[np.float64]:
    """Return a line's points in pixels, with more between them where they are far apart."""
    places = transform.transform(np.asarray(points, dtype=np.float64).reshape(-1, 2))
    places = places[np.isfinite(places).all(axis=1)]
    if len(places) < 2:
        found: NDArray[np.float64] = places.reshape(-1, 2)
        return found
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
    even = np.linspace(0.0, length[-1], POINTS_A_LINE)
    return np.column_stack([np.interp(even, length, places[:, 0]), np.interp(even, length, places[:, 1])])


def around(x: float, y: float) -> list[Candidate]:
    """Return positions for a label near a point, best first; offsets in points."""
    near = [("center", "top", 0, -13), ("center", "bottom", 0, 13), ("left", "top", 8, -10), ("right", "top", -8, -10)]
    near += [
        ("left", "bottom", 8, 10),
        ("right", "bottom", -8, 10),
        ("center", "top", 0, -32),
        ("center", "bottom", 0, 32),
    ]
    near += [
        ("right", "center", -16, 0),
        ("left", "center", 16, 0),
        ("right", "bottom", -8, 28),
        ("left", "bottom", 8, 28),
    ]
    return [{"xy": (x, y), "ha": ha, "va": va, "offset": (dx, dy)} for ha, va, dx, dy in near]


def above_axis(x: float) -> list[Candidate]:
    """Return positions for a label just above the horizontal axis, on either side of `x`."""
    return [_beside(x, 0.0, "bottom", side, shift) for shift in (4, 20, 36) for side in ("left", "right")]


def below_top(x: float) -> list[Candidate]:
    """Return positions for a label just below the panel's top, on either side of `x`."""
    return [_beside(x, 1.0, "top", side, -shift) for shift in (4, 22, 40) for side in ("left", "right")]


def along(y: float) -> list[Candidate]:
    """Return positions for a label on a level line, just above it or just below."""
    ends = [(0.01, "left"), (0.99, "right"), (0.5, "center"), (0.25, "center"), (0.75, "center")]
    sides = [("bottom", 2), ("top", -3)]
    return [
        {"xy": (share, y), "xycoords": ("axes fraction", "data"), "ha": ha, "va": va, "offset": (0, shift)}
        for share, ha in ends
        for va, shift in sides
    ]


def _beside(x: float, level: float, va: str, side: str, shift: int) -> Candidate:
    offset = (6 if side == "left" else -6, shift)
    return {"xy": (x, level), "xycoords": ("data", "axes fraction"), "ha": side, "va": va, "offset": offset}
