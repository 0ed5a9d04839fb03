"""Tags, and lines read from their end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.runs import change_tags, lines, read_tags
from lmlab.runs.lines import line_bytes, lines_from_end, read_lines


def test_tags_are_given_taken_and_kept_in_order(make_run):
    folder = make_run("one").folder
    assert read_tags(folder) == ()
    assert change_tags(folder, ["night", "a/b"]) == ("a/b", "night")
    assert change_tags(folder, ["night", "x"], ["a/b", "unknown"]) == ("night", "x")
    assert read_tags(folder) == ("night", "x")


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "-x", "x" * 51, "\x1b[31m"])
def test_what_can_be_no_tag_is_refused_and_nothing_changes(make_run, tag):
    folder = make_run("one").folder
    change_tags(folder, ["kept"])
    with pytest.raises(LabError, match="can't be a tag"):
        change_tags(folder, ["fine", tag])
    assert read_tags(folder) == ("kept",)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 1}', '{"format": 1, "tags": [1]}', '{"format": 2, "tags": []}']
)
def test_damaged_tags_are_told(make_run, text):
    folder = make_run("one").folder
    (folder / "tags.json").write_text(text)
    with pytest.raises(LabError, match=r"tags\.json"):
        read_tags(folder)


@given(
    st.lists(st.text(max_size=30), max_size=8),
    st.sampled_from([b"", b'{"torn": tr', b"x" * 70]),
    st.sampled_from([1, 7, 64, 1 << 16]),
)
def test_lines_from_the_end_are_those_from_the_start(tmp_path_factory, texts, torn, block):
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    path.write_bytes(b"".join(line_bytes({"format": 1, "text": text}) for text in texts) + torn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        assert list(lines_from_end(path))[::-1] == read_lines(path)


def test_no_file_has_no_lines_and_a_damaged_one_is_told(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert list(lines_from_end(path)) == []
    path.write_bytes(b'damaged\n{"format": 1}\n')
    found = lines_from_end(path)
    assert next(found) == {"format": 1}
    with pytest.raises(LabError, match="damaged in line 1"):
        next(found)
