"""Bokeh against plotly for `lmlab report --to html`: 100 curves of 10,000 points in one file, opened in Chromium.

    python -m benchmarks.chart_libraries [--chromium /usr/bin/chromium] [--points 10000] [--runs 100]

prints for each library, with all points and downsampled as lmlab does it, the size of the file, the seconds from the start of the
navigation until the chart is drawn, and the frames a second while the chart is dragged. Both libraries draw one line for each run
on a log axis, with hover, by their own Python interface. Needs bokeh, plotly and playwright.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.report.page.downsample import kept_places

WIDTH, HEIGHT = 1000, 560
DRAG_MOVES = 60
SHOWN_POINTS = 500
"""Points of each curve where it is downsampled."""


def curves(runs: int, points: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return steps [points] and a noisy loss curve for each run."""
    random = np.random.default_rng(0)
    steps = np.arange(1, points + 1)
    return steps, [2.5 + 0.01 * run + 6 * steps**-0.35 + random.normal(0, 0.05, points) for run in range(runs)]


def with_bokeh(steps: np.ndarray, losses: list[np.ndarray], shown: int | None) -> str:
    """Return the page by bokeh."""
    from bokeh.embed import file_html
    from bokeh.models import HoverTool
    from bokeh.plotting import figure
    from bokeh.resources import INLINE

    plot = figure(width=WIDTH, height=HEIGHT, y_axis_type="log", tools="pan,box_zoom,reset")
    plot.add_tools(HoverTool(tooltips=[("step", "@x"), ("loss", "@y")]))
    for loss in losses:
        kept = _kept(loss, shown)
        plot.line(steps[kept], loss[kept])
    return file_html(plot, INLINE, "bokeh")


def with_plotly(steps: np.ndarray, losses: list[np.ndarray], shown: int | None) -> str:
    """Return the page by plotly."""
    import plotly.graph_objects as graph

    lines = [
        graph.Scatter(x=steps[kept], y=loss[kept], mode="lines", showlegend=False)
        for loss, kept in ((loss, _kept(loss, shown)) for loss in losses)
    ]
    figure = graph.Figure(lines)
    figure.update_layout(width=WIDTH, height=HEIGHT, dragmode="pan", yaxis_type="log")
    page: str = figure.to_html(include_plotlyjs=True)
    return page


def _kept(loss: np.ndarray, shown: int | None) -> np.ndarray:
    return np.arange(len(loss)) if shown is None else kept_places(loss, shown)


def measured(page: Path, library: str, chromium: str) -> dict[str, Any]:
    """Return size, seconds to the first view and frames a second of dragging."""
    from playwright.sync_api import sync_playwright

    ready = {
        "bokeh": "window.Bokeh && Bokeh.index && [...Bokeh.index.roots || Object.values(Bokeh.index)].length > 0 "
        "&& Bokeh.documents.every((one) => one.is_idle)",
        "plotly": "document.querySelectorAll('.scatterlayer .trace').length > 0",
    }[library]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 800})
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_function(ready, timeout=180_000)
        seconds = tab.evaluate(
            "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now() / 1000))))"
        )
        tab.evaluate(
            "() => { window.frames_drawn = 0; const tick = () => { window.frames_drawn += 1; requestAnimationFrame(tick); };"
            " requestAnimationFrame(tick); }"
        )
        tab.mouse.move(500, 300)
        tab.mouse.down()
        before, began = tab.evaluate("[window.frames_drawn, performance.now()]")
        for move in range(DRAG_MOVES):
            tab.mouse.move(500 + 3 * (move % 40), 300)
        after, ended = tab.evaluate("[window.frames_drawn, performance.now()]")
        tab.mouse.up()
        browser.close()
    return {
        "megabytes": page.stat().st_size / 1e6,
        "seconds_to_first_view": seconds,
        "frames_a_second": 1000 * (after - before) / (ended - began),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    steps, losses = curves(options.runs, options.points)
    with tempfile.TemporaryDirectory() as folder:
        for shown in (None, SHOWN_POINTS):
            pages = {}
            for library, write in (("bokeh", with_bokeh), ("plotly", with_plotly)):
                pages[library] = Path(folder) / f"{library}-{shown}.html"
                pages[library].write_text(write(steps, losses, shown), encoding="utf-8")
            for turn in range(options.rounds):
                for library, page in pages.items():
                    found = measured(page, library, options.chromium)
                    print(
                        json.dumps({"library": library, "points": shown or options.points, "round": turn, **found}),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
