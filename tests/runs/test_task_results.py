"""Stored results of benchmark tasks: written whole, read back equal, refused in one line where damaged."""

import json
import os

import numpy as np
import pytest

from lmlab import LabError
from lmlab.runs.task_results import FOLDER, ROW, list_task_results, read_task_result, write_task_result

VALUE = {
    "data_sha256": "0" * 64,
    "style": "completion",
    "outcomes": {"completion": "10=?"},
    "selected": None,
    "clusters": [0, 0, 1, 1],
    "standing": "above",
}


def rows():
    found = np.zeros(6, ROW)
    found["item"], found["option"], found["nats"] = [0, 0, 1, 1, 2, 2], [0, 1] * 3, np.linspace(0.1, 9.7, 6)
    return found


@pytest.fixture
def stored(tmp_path):
    write_task_result(tmp_path, "copa", 250, VALUE, rows())
    return tmp_path


def test_a_result_is_read_as_it_was_written(stored):
    found = read_task_result(stored, "copa", 250)
    assert found.outcomes == "10=?"
    assert (found.rows == rows()).all()
    assert list_task_results(stored) == [("copa", 250)]
    assert sorted(path.name for path in (stored / FOLDER).iterdir()) == [
        "copa-step-00000250.json",
        "copa-step-00000250.npy",
    ]
    assert (np.load(stored / FOLDER / "copa-step-00000250.npy") == rows()).all()


def test_a_later_result_replaces_an_earlier_one(stored):
    write_task_result(stored, "copa", 250, {**VALUE, "outcomes": {"completion": "11"}, "clusters": None}, rows()[:2])
    assert read_task_result(stored, "copa", 250).outcomes == "11"


def test_a_run_without_results_has_none(tmp_path):
    assert list_task_results(tmp_path) == []
    with pytest.raises(LabError, match="has no result of copa at step 3: lmlab evaluate"):
        read_task_result(tmp_path, "copa", 3)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"format": 2}, "has format 2"),
        ({"step": 3}, "the result of copa at step 250"),
        ({"outcomes": {"completion": "12"}}, "the outcomes"),
        ({"outcomes": []}, "the outcomes"),
        ({"style": "other"}, "a primary style"),
        ({"selected": [1]}, "selected as 4 whole numbers"),
        ({"clusters": [0, 0, 1, -1]}, "clusters as 4"),
        ({"standing": 1}, "its standing"),
        ({"rows_sha256": 5}, "its rows_sha256"),
        ({"rows_sha256": "0" * 64}, "isn't the one of"),
    ],
)
def test_a_damaged_result_is_refused(change, said, stored):
    path = stored / FOLDER / "copa-step-00000250.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LabError, match=said):
        read_task_result(stored, "copa", 250)


def test_a_link_in_its_place_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / FOLDER)
    with pytest.raises(LabError, match="is a link"):
        write_task_result(tmp_path, "copa", 250, VALUE, rows())
