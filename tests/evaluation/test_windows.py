"""Which windows are run and which unit a token belongs to."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmlab.evaluation.windows import positions_of, unit_ranges, units_of, windows_in, windows_over


@given(st.integers(2, 200), st.integers(1, 40))
def test_every_token_but_the_first_is_predicted_exactly_once(tokens, context):
    windows = np.arange(windows_in(tokens, context))
    targets = positions_of(windows, context)[:, 1:].ravel()
    assert targets[targets < tokens].tolist() == list(range(1, tokens))
    assert windows_over(np.array([1]), np.array([tokens]), context).tolist() == windows.tolist()


@given(st.data(), st.integers(2, 120), st.integers(1, 20))
def test_the_windows_over_some_units_are_those_that_predict_a_token_of_theirs(data, tokens, context):
    starts = np.array([0, *sorted(data.draw(st.lists(st.integers(0, tokens), max_size=8)))])
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(starts) - 1)))), dtype=np.int64)
    firsts, ends = unit_ranges(starts, tokens)
    found = windows_over(firsts[chosen], ends[chosen], context)
    slow = set()
    for position in range(1, tokens):
        unit = max(index for index, start in enumerate(starts) if start <= position)
        assert units_of(np.array([position]), starts)[0] == unit
        if unit in chosen:
            slow.add((position - 1) // context)
    assert found.tolist() == sorted(slow)


def test_unit_ranges_leave_out_the_first_token_and_units_without_tokens():
    firsts, ends = unit_ranges(np.array([0, 1, 4, 4]), 9)
    assert (ends - firsts).tolist() == [0, 3, 0, 5]
