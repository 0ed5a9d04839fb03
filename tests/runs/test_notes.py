"""note.json: a person's note on a run."""

import pytest

from lmlab import LabError
from lmlab.runs import read_note, write_note


def test_a_note_is_kept_replaced_and_taken_away(tmp_path):
    assert read_note(tmp_path) == ""
    assert write_note(tmp_path, "  Größer, as\nplanned ") == "Größer, as\nplanned"
    assert read_note(tmp_path) == "Größer, as\nplanned"
    write_note(tmp_path, "other")
    assert read_note(tmp_path) == "other"
    write_note(tmp_path, "")
    assert read_note(tmp_path) == ""


def test_a_note_that_is_too_long_or_damaged_is_refused_in_one_line(tmp_path):
    with pytest.raises(LabError, match="10,001 characters: expected at most 10,000"):
        write_note(tmp_path, "x" * 10_001)
    for damage in ("[]", '{"format": 1}', '{"format": 1, "note": 7}', "{"):
        (tmp_path / "note.json").write_text(damage)
        with pytest.raises(LabError, match="note.json"):
            read_note(tmp_path)
    (tmp_path / "note.json").write_text('{"format": 9, "note": "x"}')
    with pytest.raises(LabError, match="has format 9"):
        read_note(tmp_path)
