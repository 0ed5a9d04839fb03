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
