"""The charts of a page as plain JSON for the script that draws them."""

from __future__ import annotations

from typing import Any

from lmlab import printable
from lmlab.report.page.values import Chart, Line, Page, finite


def page_data(page: Page) -> dict[str, Any]:
    """Return what the script reads: groups and charts. Axes are left out of a chart that hasn't them for all curves."""
    return {"groups": [printable(name) for name in page.groups], "charts": [_chart(chart) for chart in page.charts]}


def _chart(chart: Chart) -> dict[str, Any]:
    axes = chart.axes()
    return {
        "key": chart.key,
        "title": chart.title,
        "unit": chart.unit,
        "logarithmic": chart.logarithmic,
        "axes": list(axes),
        "lines": [_line(line, axes) for line in chart.lines],
        "marks": [
            {
                "run": printable(mark.run),
                "group": mark.group,
                "what": printable(mark.what),
                "at": {axis: finite(mark.places.on(axis))[0] for axis in axes},
                "value": mark.value,
            }
            for mark in chart.marks
        ],
        "levels": [{"words": printable(level.words), "value": level.value} for level in chart.levels],
    }


def _line(line: Line, axes: tuple[Any, ...]) -> dict[str, Any]:
    band = {} if line.low is None or line.high is None else {"low": finite(line.low), "high": finite(line.high)}
    return {
        "name": printable(line.name),
        "quantity": line.quantity,
        "group": line.group,
        "style": line.style,
        # FLOPs are tokens times a constant, which takes less room.
        "at": {axis: finite(line.places.on(axis)) for axis in axes if axis != "FLOPs"},
        "flops": _flops_per_token(line) if "FLOPs" in axes else None,
        "values": finite(line.values),
        **band,
    }


def _flops_per_token(line: Line) -> float:
    tokens, flops = float(line.places.tokens[-1]), float(line.places.flops[-1])
    return flops / tokens if tokens else 0.0
