"""The IsoFLOP picture against the law written out again."""

import numpy as np
import pytest

from lmlab.report.isoflop import draw_isoflop, write_isoflop


def law(parameters, tokens):
    return 1.0 + 30.0 * parameters**-0.3 + 40.0 * tokens**-0.3


def drawn(unique_tokens):
    figure = draw_isoflop(law, "a law", "mine", 1e6, 2e7, unique_tokens)
    axes = figure.axes[0]
    curves = {line.get_label(): line for line in axes.lines}
    return figure, list(curves.values())


def test_the_circles_are_the_best_sizes_of_the_closed_form():
    _, lines = drawn(1e12)
    circles = [line for line in lines if line.get_marker() == "o"]
    # With equal exponents the best size is sqrt(a / b)^(1 / .3) of the root of F / 6 (arXiv 2203.15556, equation 4).
    for share, circle in zip((0.25, 1.0, 4.0, 16.0), circles, strict=True):
        best = (30 / 40) ** (1 / 0.6) * (share * 1e6 * 2e7) ** 0.5
        assert circle.get_xdata()[0] == pytest.approx(best, rel=0.04)
    (here,) = [line for line in lines if line.get_marker() == "D"]
    assert here.get_ydata()[0] == pytest.approx(law(1e6, 2e7))


def test_what_is_read_again_counts_for_less():
    _, fresh = drawn(1e12)
    _, again = drawn(5e6)
    (here,) = [line for line in again if line.get_marker() == "D"]
    # Four passes over 5M tokens (arXiv 2305.16264, equation 5)
    assert here.get_ydata()[0] == pytest.approx(law(1e6, 5e6 * (1 + 15.39 * (1 - np.exp(-3 / 15.39)))))
    best = [[line.get_xdata()[0] for line in lines if line.get_marker() == "o"][-1] for lines in (fresh, again)]
    assert best[1] > best[0]


def test_it_is_written_as_svg_and_png(tmp_path):
    figure, _ = drawn(1e12)
    written = write_isoflop(figure, tmp_path / "new")
    assert [path.name for path in written] == ["isoflop.svg", "isoflop.png"]
    assert written[0].read_bytes().startswith(b"<?xml") and written[1].read_bytes().startswith(b"\x89PNG")
