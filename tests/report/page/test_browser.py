"""The page in Chromium: opened from disk it draws its charts, with no error and no request."""

import os
import shutil
from pathlib import Path

import pytest

from lmlab.report.page.writing import write_html
from lmlab.runs import open_runs
from tests.report.page.conftest import HOSTILE, make_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRAWN = "html[data-printable]"
INK = """id => {
  const below = (one) => [one, ...(one.shadowRoot ? within(one.shadowRoot) : [])];
  const within = (root) => [...root.querySelectorAll("*")].flatMap(below);
  const canvas = within(document.getElementById(id)).find((one) => one.tagName === "CANVAS");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
}"""
"""The number of different colours in a chart."""


@pytest.fixture
def opened(root, tmp_path):
    """A function that writes the report of runs and returns its tab, with everything that the browser complains about."""
    pytest.importorskip("bokeh", reason="needs bokeh")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        problems, requests = [], []

        def open_report(*names, **look):
            path = write_html(open_runs(names, root), tmp_path / "out", "steps", "lmlab report", lambda line: None)
            tab = browser.new_page(**look)
            tab.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
            tab.on("pageerror", lambda error: problems.append(str(error)))
            tab.on("dialog", lambda dialog: problems.append(dialog.message))
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(Path(path).as_uri())
            tab.wait_for_selector(DRAWN, state="attached")
            return tab, problems, requests

        yield open_report
        browser.close()


def test_charts_are_drawn_from_disk_without_an_error_or_a_request(root, opened):
    make_run(root, text=HOSTILE)
    tab, problems, requests = opened("one")
    assert tab.locator(".chart").count() == 5
    for key in ("loss", "gap", "rate", "norm", "throughput"):
        assert tab.evaluate(INK, f"chart-{key}") > 10
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in requests if url.startswith("file:")]) == 1


def test_switches_draw_again_and_a_phone_needs_no_scrolling_sideways(root, opened):
    for seed in (1, 2):
        make_run(root, f"a-s{seed}", seed=seed)
    make_run(root, "b", steps=50)
    tab, problems, _ = opened("a-s1", "a-s2", "b", viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    before = tab.locator("#picture-loss").get_attribute("src")
    tab.evaluate("delete document.documentElement.dataset.printable")
    tab.check("input[value=seconds]")
    tab.wait_for_selector(DRAWN, state="attached")
    assert tab.locator("#picture-loss").get_attribute("src") != before
    assert tab.evaluate(INK, "chart-loss") > 10
    assert problems == []
