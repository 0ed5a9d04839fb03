"""units-valid.npy: one column per evaluation, for the units of the validation split."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.runs.units import append_evaluation, read_units, start_units, truncate_units

SPLIT = np.zeros(3, dtype=[("key", "V32"), ("bytes", "<i8"), ("start", "<i8")])
SPLIT["key"] = np.array([bytes([number]) * 32 for number in (1, 2, 1)], dtype="V32")
SPLIT["start"] = [0, 4, 9]
SPLIT["bytes"] = [8, 10, 12]


@pytest.fixture
def run(make_run):
    made = make_run()
    made.start_units(SPLIT, 15)
    return made


def test_each_unit_has_its_key_its_bytes_and_its_tokens(run):
    units = run.units()
    assert units.dtype.names == ("key", "bytes", "tokens", "bits")
    assert units["key"].tobytes() == SPLIT["key"].tobytes()
    assert (units["bytes"].tolist(), units["tokens"].tolist(), units["bits"].shape) == ([8, 10, 12], [4, 5, 6], (3, 0))


def test_evaluations_are_columns_and_a_rewind_cuts_them(run):
    for evaluation in range(3):
        run.append_units(evaluation, np.array([1.0, np.nan, 3.0]) + evaluation)
    assert np.array_equal(run.units()["bits"], [[1, 2, 3], [np.nan] * 3, [3, 4, 5]], equal_nan=True)
    run.truncate_units(1)
    assert run.units()["bits"].shape == (3, 1)
    run.append_units(1, np.array([7.0, 8.0, 9.0]))
    assert run.units()["bits"][:, 1].tolist() == [7, 8, 9]
    assert run.units()["tokens"].tolist() == [4, 5, 6]


def test_the_same_evaluation_again_replaces_it_and_what_came_after(run):
    for evaluation in (0, 1, 2, 1):
        run.append_units(evaluation, np.full(3, float(evaluation)))
    assert run.units()["bits"].shape == (3, 2)
    run.append_units(4, np.ones(3))
    assert np.isnan(run.units()["bits"][:, 2:4]).all() and run.units()["bits"][:, 4].tolist() == [1, 1, 1]


def test_truncating_what_is_short_enough_writes_nothing(run):
    run.append_units(0, np.ones(3))
    before = os.stat(run.folder / "units-valid.npy").st_mtime_ns
    run.truncate_units(1)
    run.truncate_units(5)
    assert os.stat(run.folder / "units-valid.npy").st_mtime_ns == before


def test_bits_of_another_number_of_units_are_refused(run):
    with pytest.raises(ValueError, match="3 units"):
        run.append_units(0, np.ones(4))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=8))
def test_any_order_of_appends_and_truncations_equals_a_list_of_columns(tmp_path_factory, steps):
    path = tmp_path_factory.getbasetemp() / "units.npy"
    start_units(path, SPLIT["key"], SPLIT["bytes"], SPLIT["start"])
    columns = []
    for value, (number, append) in enumerate(steps):
        del columns[number:]
        if append:
            columns += [[np.nan] * 3] * (number - len(columns)) + [[value, value + 0.5, np.nan]]
            append_evaluation(path, number, np.array(columns[-1], dtype=np.float64))
        else:
            truncate_units(path, number)
    assert np.array_equal(read_units(path)["bits"], np.array(columns).reshape(len(columns), 3).T, equal_nan=True)


def test_the_file_is_plain_numpy_and_no_units_at_all_are_units_too(tmp_path):
    empty = SPLIT[:0]
    start_units(tmp_path / "units.npy", empty["key"], empty["bytes"], empty["start"])
    append_evaluation(tmp_path / "units.npy", 0, np.zeros(0))
    assert np.load(tmp_path / "units.npy", allow_pickle=False).dtype == read_units(tmp_path / "units.npy").dtype


def damaged_contents(whole):
    import io

    pickled, other = io.BytesIO(), io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(other, np.zeros(3))
    huge = whole.replace(b"(3,)", b"(9999999999,)").replace(b" " * 10, b" ", 1)
    return [
        b"",
        b"nonsense",
        b"\x93NUMPY\x01\x00",
        whole[:-1],
        whole + b"x",
        pickled.getvalue(),
        other.getvalue(),
        huge,
    ]


@pytest.mark.parametrize("case", range(8))
def test_damaged_units_are_refused_in_one_line_and_nothing_is_unpickled(run, case):
    path = run.folder / "units-valid.npy"
    path.write_bytes(damaged_contents(path.read_bytes())[case])
    with pytest.raises(LabError, match="units-valid.npy (is damaged|contains no units)") as caught:
        run.units()
    assert "\n" not in str(caught.value)


def test_missing_units_are_named(make_run):
    with pytest.raises(LabError, match="units-valid.npy is missing"):
        make_run().units()


def test_a_write_that_dies_leaves_the_units_that_were_there(run):
    from lmlab.files import Storage

    class Dies(Storage):
        def rename(self, old, new):
            raise KeyboardInterrupt

    run.append_units(0, np.ones(3))
    with pytest.raises(KeyboardInterrupt):
        append_evaluation(run.folder / "units-valid.npy", 1, np.ones(3), Dies())
    assert run.units()["bits"].shape == (3, 1)
    assert [entry.name for entry in run.folder.iterdir() if entry.name.startswith(".")] == []
