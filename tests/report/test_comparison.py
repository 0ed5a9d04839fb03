"""A comparison in words, tables and pictures, from run folders through the command line."""

import json

import pytest

from lmlab.cli import main
from tests.study.finished import finished_run


@pytest.fixture
def runs(tmp_path):
    """Three seeds of a recipe, a better one, and one on another text."""
    for seed, loss in ((1, 1.80), (2, 1.81), (3, 1.79)):
        finished_run(tmp_path / "runs", f"base-{seed}", loss, seed=seed)
    finished_run(tmp_path / "runs", "better", 1.6, settings={"model.dropout": "0.1"})
    finished_run(tmp_path / "runs", "elsewhere", 1.2, text="b", data_id="f" * 16)
    return tmp_path / "runs"


def test_tables_and_verdict_are_printed_and_the_verdict_is_last(runs, capsys):
    assert main(["compare", "base-1", "better", "--reach", "1.7,1.0", "--runs", str(runs)]) == 0
    out = capsys.readouterr().out
    for words in ("model.dropout", "of 20, the usual optimum", "-11.1%", "never", "no overfitting", "768k tokens"):
        assert words in out, out
    assert (
        out.index("side by side")
        < out.index("better: ")
        < out.index("base-1 is worse than better: 1.8000 against 1.6000")
    )
    assert "measured from 3 seeds of a recipe" in out
    assert "one seed each can show differences above 0.061\n" in out  # and no seeds for what is seen already
    assert out.splitlines()[-1] == "why do they differ: lmlab explain base-1 better"


def test_json_is_all_of_standard_output_and_has_every_figure(runs, capsys):
    assert main(["compare", "base-1", "better", "elsewhere", "--json", "--runs", str(runs)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in value["runs"]] == ["base-1", "better", "elsewhere"]
    assert value["scale"] is None and value["equal"] == []
    told = {(pair["first"], pair["second"]): pair["verdict"] for pair in value["pairs"]}
    assert told == {("base-1", "better"): "worse", ("base-1", "elsewhere"): None, ("better", "elsewhere"): None}
    assert value["pairs"][0]["noise"]["source"] == "measured" and value["pairs"][0]["units"] == 60


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_curves_are_drawn_into_the_file_that_is_named(runs, tmp_path, capsys, kind):
    picture = tmp_path / "out" / f"two.{kind}"
    assert main(["compare", "base-1", "better", "--plot", str(picture), "--runs", str(runs)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(picture)
    assert picture.stat().st_size > 10_000
    if kind == "svg":
        text = picture.read_text(encoding="utf-8")
        assert "base-1 is worse than better" in text and "means over seeds: 1.8000 against 1.6000" in text
        assert "(band: 3 seeds, mean 1.8000)" in text


def test_the_axes_begin_just_before_the_first_evaluation_that_is_drawn(runs):
    from lmlab.report.comparison_figure import FIRST_DRAWN, draw_comparison
    from lmlab.study.compare.comparing import compare
    from lmlab.study.compare.comparison import Asked

    found = compare(["base-1", "better"], runs, Asked())
    for axes, axis in zip(draw_comparison(found).axes, ("tokens", "FLOPs", "seconds"), strict=True):
        ends = min(curve.end(axis) for curve in found.curves)
        first = min(place for curve in found.curves for place in curve.spent[axis] if place >= FIRST_DRAWN * ends)
        low, high = axes.get_xlim()
        assert 0.8 * first < low < first < high


def test_wrong_words_are_one_line(runs, capsys):
    for words, status, said in (
        (["base-1"], 2, "needs two runs"),
        (["base-1", "bettr"], 1, "did you mean better?"),
        (["base-1", "better", "--reach", "low"], 2, "--reach takes losses"),
        (["base-1", "better", "--plot", "curves.pdf"], 1, ".png or .svg"),
        (["base-1", "elsewhere", "--plot", str(runs / "x.png")], 1, "--on TEXT scores all of them on one text"),
    ):
        assert main(["compare", *words, "--runs", str(runs)]) == status
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1 and said in errors[0], errors


def test_where_there_is_no_picture_the_comparison_is_printed_all_the_same(runs, capsys):
    assert main(["compare", "base-1", "elsewhere", "--plot", str(runs / "x.png"), "--runs", str(runs)]) == 1
    assert "side by side" in capsys.readouterr().out
