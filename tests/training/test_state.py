"""The state of a training goes through JSON without losing a bit."""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.recipe import Recipe
from lmlab.training.guard import judge, remember
from lmlab.training.seeds import derived_seed, dropout_seed
from lmlab.training.state import State, read_state


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**62),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))),
)
def test_state_through_json_is_bit_equal(loss_sum, cursor, skipped):
    state = State(step=3, cursor=cursor, loss_sum=loss_sum, skipped=[list(pair) for pair in skipped], scale=65_536.0)
    again, journal = read_state(json.loads(json.dumps(state.to_json({"metrics": 12}))))
    assert again == state
    assert struct.pack("d", again.loss_sum) == struct.pack("d", loss_sum)
    assert journal == {"metrics": 12}


def test_a_state_that_lacks_a_field_or_has_another_format_is_refused():
    value = State().to_json({})
    with pytest.raises(LabError, match="lacks cursor"):
        read_state({key: entry for key, entry in value.items() if key != "cursor"})
    with pytest.raises(LabError, match="format 2"):
        read_state({**value, "format": 2})


def test_a_state_from_before_there_was_a_guard_has_a_fresh_one():
    value = State(step=7).to_json({})
    older = {
        name: entry
        for name, entry in value.items()
        if name not in ("guard", "noise", "batches", "saves", "wall_seconds")
    }
    assert read_state(older)[0] == State(step=7)


def test_a_guard_goes_through_json_and_a_damaged_one_is_refused():
    state = State(step=40)
    for step in range(40):
        remember(state.guard, step, judge(state.guard, Recipe(), step, 3.0 + step % 3, math.nan if step == 5 else 0.1))
    assert read_state(json.loads(json.dumps(state.to_json({}))))[0] == state
    for damage in ({"loss": 1}, {"rewinds": -1}, {"recent": [[1]]}, {"more": 1}):
        value = state.to_json({})
        with pytest.raises(LabError, match="guard can't be"):
            read_state({**value, "guard": {**value["guard"], **damage}})


def test_measured_noise_goes_through_json_and_a_damaged_one_is_refused():
    state = State(step=3)
    state.noise.add(2.0, 1, 1.1, 8)
    assert read_state(json.loads(json.dumps(state.to_json({}))))[0] == state
    for damage in ({"steps": -1}, {"square": None}, {"more": 1}):
        value = state.to_json({})
        with pytest.raises(LabError, match="noise can't be"):
            read_state({**value, "noise": {**value["noise"], **damage}})


def test_dropout_seeds_differ_between_steps_micro_batches_and_runs():
    seeds = {dropout_seed(seed, step, first) for seed in range(4) for step in range(50) for first in range(0, 64, 8)}
    assert len(seeds) == 4 * 50 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_what_they_were():
    # A change here would make every stored run another run.
    assert derived_seed("dropout", 1, 2, 3) == dropout_seed(1, 2, 3) == 1798619023911856913


def test_a_state_from_before_there_was_a_minimum_gain_measures_from_its_best_loss():
    value = State(step=7, evaluations=3, best_loss=2.5, best_step=4, worse_in_a_row=1).to_json({})
    del value["patience_loss"]
    assert read_state(value)[0].patience_loss == 2.5
    with pytest.raises(LabError, match="patience_loss can't be"):
        read_state({**value, "patience_loss": "low"})
