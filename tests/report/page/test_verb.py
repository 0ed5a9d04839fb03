"""`lmlab report --to html` and `--to md`."""

import json
import sys

import pytest

from lmlab.cli import main
from tests.report.page.conftest import make_run


def test_markdown_is_written_with_its_picture(root, tmp_path, capsys):
    make_run(root)
    words = ["report", "one", "--to", "md", "--format", "png", "--runs", str(root), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "out" / name) for name in ("report.md", "curves.png")
    ]
    assert "(<curves.png>)" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_html_goes_into_the_runs_folder_and_json_names_it(root, capsys):
    pytest.importorskip("bokeh", reason="needs bokeh")
    make_run(root)
    assert main(["report", "one", "--to", "html", "--json", "--runs", str(root)]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": [str(root / "one" / "report" / "report.html")]}


def test_without_bokeh_html_is_refused_in_one_line_and_markdown_is_not(root, capsys, monkeypatch):
    make_run(root)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert main(["report", "one", "--to", "html", "--runs", str(root)]) == 1
    assert capsys.readouterr().err == 'lmlab: lmlab report --to html needs bokeh: pip install "lmlab[report]"\n'
    assert not (root / "one" / "report").exists()
    assert main(["report", "one", "--to", "md", "--runs", str(root)]) == 0


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        *(
            ("summary.json", keys, value)
            for keys in ("final", "final.loss", "seconds.train", "verdict")
            for value in ("<b>", [], 3)
        ),
        *(
            ("summary.json", keys, value)
            for keys in ("score.total_seconds.low", "claims", "score")
            for value in ("<b>", [[]], {"a": 1})
        ),
        *(("forecast.json", "figures", value) for value in ([1], {"a": {"value": 1, "low": "x"}}, {"b": 3}, "x")),
        *(
            ("origin.json", keys, value)
            for keys in ("command", "code", "hardware.memory", "data")
            for value in ("x", [3], {"a": []}, 7)
        ),
        ("policy.json", "threads", ["<b>"]),
    ],
)
def test_values_of_other_types_are_shown_or_refused_in_one_line(root, tmp_path, capsys, file, keys, value):
    run = make_run(root)
    content = json.loads((run.folder / file).read_text(encoding="utf-8"))
    *path, last = keys.split(".")
    place = content
    for key in path:
        place = place[key]
    place[last] = value
    (run.folder / file).write_text(json.dumps(content), encoding="utf-8")
    status = main(["report", "one", "--to", "md", "--format", "svg", "--runs", str(root), "--output", str(tmp_path)])
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("reading ")]
    assert status in (0, 1) and len(told) == status


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "rewind", "step": 3},
        {"kind": "spike", "step": "3"},
        {"kind": "evaluation", "step": 3, "tokens": 1, "valid_loss": 2.0, "gap": 1, "gap_interval": ["x", {}]},
        {"kind": "sample", "step": None, "text": {}},
    ],
)
def test_lines_of_other_forms_are_shown_or_refused_in_one_line(root, tmp_path, capsys, line):
    run = make_run(root)
    for file in ("events", "metrics", "samples"):
        if (file == "metrics") == (line["kind"] == "evaluation"):
            with (run.folder / f"{file}.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"format": 1, "id": run.id, "segment": 0, "tokens": 1, **line}) + "\n")
    status = main(["report", "one", "--to", "md", "--format", "svg", "--runs", str(root), "--output", str(tmp_path)])
    told = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("reading ")]
    assert status in (0, 1) and len(told) == status
