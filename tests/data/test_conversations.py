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


def test_parquet_gives_the_conversations_of_json(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [{"messages": turns, "source": "x"}, {"messages": turns * 2, "source": "y"}]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "chats.parquet")
    ours, theirs = (read_conversations(tmp_path / f"chats.{kind}") for kind in ("jsonl", "parquet"))
    assert [one.messages for one in ours] == [one.messages for one in theirs]
    (tmp_path / "text.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(LabError, match="isn't parquet of conversations"):
        read_conversations(tmp_path / "text.parquet")


HOSTILE = {
    "a list of numbers": "[1, 2]",
    "no answer at the end": '[{"messages": [{"role": "user", "content": "Hi"}]}]',
    "two questions": '[{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}]',
    "an unknown role": '[{"messages": [{"role": "\\u001b[2J", "content": "a"}]}]',
    "a number for a text": '[{"instruction": 3, "output": "a"}]',
    "cut short": '[{"instruction": "a", "output": ',
    "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_isnt_conversations_is_one_line_with_its_record(tmp_path, name):
    path = tmp_path / "bad.json"
    path.write_text(HOSTILE[name])
    with pytest.raises(LabError, match=r"bad\.json") as caught:
        read_conversations(path)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
