"""Conversations read from files."""

import json
import lzma

import pytest

from lmlab import LabError
from lmlab.data.instructions.records import read_conversations
from tests.shared import shared_data


def test_records_without_an_answer_are_left_out_and_counted(tmp_path):
    records = [
        {"instruction": f"Do {number}.", "input": "", "output": "" if number in (1, 3) else "Done."}
        for number in range(5)
    ]
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(records))
    found = read_conversations(path)
    assert [one.question[0].content for one in found] == ["Do 0.", "Do 2.", "Do 4."]
    assert (len(found), found.unanswered) == (3, 2)
    assert found[-1].place == f"{path}, record 5"


def test_a_file_without_any_answer_is_refused(tmp_path):
    path = tmp_path / "empty.json"
    path.write_text(json.dumps([{"instruction": "Do.", "output": " "}]))
    with pytest.raises(LabError, match="1 records without an answer"):
        read_conversations(path)


@pytest.mark.slow
def test_stanford_alpaca_has_28_records_without_an_answer():
    path = shared_data("alpaca/alpaca_data.json.xz")
    records = json.loads(lzma.decompress(path.read_bytes()))
    found = read_conversations(path)
    assert (len(records), found.unanswered) == (52_002, sum(not record["output"].strip() for record in records))
    assert found.unanswered == 28 and len(found) == 51_974
