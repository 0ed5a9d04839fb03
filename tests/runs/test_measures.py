"""Stored measures: read as they were written, refused in one line where damaged."""

from __future__ import annotations

import json

import pytest

from lmlab import LabError
from lmlab.runs.measures import FOLDER, all_measures, list_measures, read_measures, write_measures

VALUE = {
    "asked": {"count": 4},
    "figures": {"known": [0.9, 0.8, 1.0], "bits_per_byte": [None, None, None]},
    "real": None,
}


def test_a_measurement_is_read_as_it_was_written_and_a_later_one_replaces_it(tmp_path):
    write_measures(tmp_path, 250, VALUE)
    write_measures(tmp_path, 20, VALUE)
    assert read_measures(tmp_path, 250) == {"format": 1, "step": 250, **VALUE}
    assert list_measures(tmp_path) == [20, 250]
    write_measures(tmp_path, 250, {**VALUE, "figures": {}})
    assert [one["figures"] for one in all_measures(tmp_path)] == [VALUE["figures"], {}]


def test_a_run_without_measures_has_none(tmp_path):
    assert all_measures(tmp_path) == []
    with pytest.raises(LabError, match=r"no measures at step 3: lmlab sample .*@3 --measure"):
        read_measures(tmp_path, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "has format 2"),
        ({"step": 3}, "expected figures of step 250"),
        ({"figures": {"known": [1, 2]}}, "is damaged"),
        ({"figures": {"known": [1, "2", 3]}}, "is damaged"),
        ({"figures": {"known": [1, 1e999, 3]}}, "is damaged"),
        ({"real": {"known": 1}}, "is damaged"),
        ({"asked": None}, "expected what was asked"),
    ],
)
def test_damaged_measures_are_refused_in_one_line(tmp_path, change, said):
    write_measures(tmp_path, 250, VALUE)
    path = tmp_path / FOLDER / "step-00000250.json"
    path.write_text(json.dumps({"format": 1, "step": 250, **VALUE, **change}))
    with pytest.raises(LabError, match=said) as refused:
        read_measures(tmp_path, 250)
    assert "\n" not in str(refused.value)


def test_a_link_is_not_written_into(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabError, match="is a link"):
        write_measures(tmp_path, 250, VALUE)
