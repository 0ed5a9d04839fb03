"""docs/formats.md agrees with what the code writes."""

import re
from pathlib import Path

import pytest

from lmlab.checkpoint import layout, manifest, pointers
from lmlab.checkpoint.header import LARGEST_HEADER
from lmlab.files.lock import LOCKED_BYTE
from lmlab.runs import journal, lines
from lmlab.runs.control import REQUESTS
from lmlab.runs.units import FIELDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def text():
    return DOCUMENT.read_text(encoding="utf-8")


def formats(text):
    return {row[0]: row[1] for row in re.findall(r"^\| ([a-z ,]+) \| `.*\| (\d+) \|$", text, re.MULTILINE)}


def test_the_format_numbers_are_those_of_the_code(text):
    from lmlab.chain.result import FORMAT as chain
    from lmlab.data.hygiene.check import FORMAT as check
    from lmlab.data.manifest import FORMAT as data_set
    from lmlab.data.shards.hub import FORMAT as hub_list
    from lmlab.data.tokenizers.base import FORMAT as tokenizer
    from lmlab.judge.client import FORMAT as judge_call
    from lmlab.judge.raw import FORMAT as judgement
    from lmlab.native.build import RECORD_FORMAT as build
    from lmlab.recipe.template import FORMAT as template
    from lmlab.recipe.text import FORMAT as recipe
    from lmlab.runs.black_boxes import FORMAT as black_box
    from lmlab.runs.measures import FORMAT as measures
    from lmlab.runs.task_results import FORMAT as task_result
    from lmlab.runs.text_scores import FORMAT as text_score
    from lmlab.training.state import FORMAT as state

    assert formats(text) == {
        "recipe": str(recipe),
        "identity": str(lines.FORMAT),
        "policy, forecast, summary": "1",
        "event": str(lines.FORMAT),
        "tags": str(lines.FORMAT),
        "note": str(lines.FORMAT),
        "black box": str(black_box),
        "task result": str(task_result),
        "text score": str(text_score),
        "measures of texts": str(measures),
        "template": str(template),
        "answers": str(lines.FORMAT),
        "judgement": str(judgement),
        "chain": str(chain),
        "call of a judge": str(judge_call),
        "lock": str(lines.FORMAT),
        "state": str(state),
        "manifest of a checkpoint": str(manifest.FORMAT),
        "pointer": str(pointers.FORMAT),
        "tokenizer": str(tokenizer),
        "manifest of a data set": str(data_set),
        "check of a data set": str(check),
        "list of a hub corpus": str(hub_list),
        "build": str(build),
    }


def test_every_field_of_a_task_s_rows_is_described(text):
    from lmlab.runs.task_results import ROW

    kinds = [(name, kind.lstrip("<|")) for name, kind in ROW.descr]
    assert [name for name, kind in kinds if f"`{name}` {kind}" not in " ".join(text.split())] == []


def test_every_file_field_and_request_is_described(text):
    names = [f"`{file}.jsonl`" for file in (*journal.FILES, "segments", "discarded")]
    names += [f"`{name}`" for name in REQUESTS] + [f"`{name}` | `{kind.lstrip('<')}`" for name, kind in FIELDS]
    names += [
        layout.MANIFEST,
        layout.STATE,
        layout.SUFFIX,
        "`latest.json`",
        "`best.json`",
        "`units-valid.npy`",
        "`lock`",
    ]
    assert [name for name in names if name not in text] == []


def test_its_numbers_are_those_of_the_code(text):
    assert f"above {LARGEST_HEADER >> 20} MiB" in text
    assert LOCKED_BYTE == 1 << 30 and "byte 2^30" in text


def test_every_field_of_a_state_and_of_a_line_is_described(text):
    import dataclasses

    from lmlab.training.state import State

    seconds = {"train_seconds", "evaluate_seconds", "save_seconds"}
    names = {entry.name for entry in dataclasses.fields(State)} - seconds | (journal.RESERVED - {"format"})
    assert sorted(name for name in names if f"`{name}`" not in text) == []
