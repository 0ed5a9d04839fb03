"""The pictures as files."""

import struct
from xml.etree import ElementTree

import pytest

from lmlab import LabError
from lmlab.report import read_curves, write_report
from lmlab.report.files import stem


def curves(name="a", count=30):
    lines = [
        {"segment": 0, "step": step, "tokens": step, "kind": "train", "loss": 3.0 - step / 20} for step in range(count)
    ]
    return read_curves(name, lines)


def test_png_and_svg_are_valid_and_of_the_promised_size(tmp_path):
    svg, png = write_report([curves()], tmp_path / "report")
    assert (svg.name, png.name) == ("curves.svg", "curves.png")
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1200, 900)
    assert ElementTree.fromstring(svg.read_bytes()).tag.endswith("svg")
    assert "training batches" in svg.read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["curves.png", "curves.svg"]


def test_only_the_picture_asked_for_is_written(tmp_path):
    assert [path.name for path in write_report([curves()], tmp_path, pictures="png")] == ["curves.png"]
    assert [path.name for path in write_report([curves()], tmp_path / "svg", pictures="svg")] == ["curves.svg"]


def test_the_same_curves_make_the_same_bytes(tmp_path):
    first, second = (write_report([curves()], tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_several_runs_share_a_picture_named_after_them(tmp_path):
    assert write_report([curves("a"), curves("b")], tmp_path, pictures="svg")[0].name == "curves-of-a-b.svg"
    assert len(stem(["x" * 40] * 8)) < 100


def test_a_name_with_signs_that_mean_something_in_formulas_is_drawn_as_it_is(tmp_path):
    (svg,) = write_report([curves("cost$5$_^{x}<&>")], tmp_path, pictures="svg")
    texts = "".join(ElementTree.fromstring(svg.read_bytes()).itertext())
    assert "cost$5$_^{x}<&>" in texts


def test_a_run_without_losses_is_refused_by_name(tmp_path):
    with pytest.raises(LabError, match="young has no losses yet"):
        write_report([curves(), curves("young", 0)], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_more_runs_than_there_are_colours_are_refused(tmp_path):
    with pytest.raises(LabError, match="1 to 8 runs, got 9"):
        write_report([curves(str(number)) for number in range(9)], tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="can't be created"):
        write_report([curves()], tmp_path / "file")
