"""Which windows are run and which unit a token belongs to."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmlab.evaluation.windows import OnceWindows, once_windows, stream_windows, unit_ranges, units_of


def counted(windows: OnceWindows, chosen: np.ndarray) -> list[int]:
    """The targets that the windows count, in the order of the windows."""
    starts, ends = windows.spans(chosen)
    froms = windows.counted_from(chosen)
    assert ((ends - starts <= windows.context + 1) & (starts < froms) & (froms < ends)).all()
    return [place for first, end in zip(froms, ends, strict=True) for place in range(first, end)]


@given(st.integers(2, 200), st.integers(1, 40), st.data())
def test_every_token_but_the_first_is_predicted_exactly_once(tokens, context, data):
    windows = stream_windows(tokens, context, data.draw(st.none() | st.integers(1, context)))
    every = np.arange(windows.count)
    assert counted(windows, every) == list(range(1, tokens))
    assert windows.over(np.array([1]), np.array([tokens])).tolist() == every.tolist()


@given(st.data(), st.integers(2, 120), st.integers(1, 20))
def test_the_windows_over_some_units_are_those_that_count_a_token_of_theirs(data, tokens, context):
    borders = np.array([0, *sorted(data.draw(st.lists(st.integers(0, tokens), max_size=8))), tokens])
    overlap = data.draw(st.integers(0, 1))
    stride = data.draw(st.none() | st.integers(1, context))
    windows = once_windows(np.maximum(borders[:-1] - overlap, 0), borders[1:], context, stride)
    starts = np.array([0, *sorted(data.draw(st.lists(st.integers(0, tokens), max_size=8)))])
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(starts) - 1)))), dtype=np.int64)
    firsts, ends = unit_ranges(starts, tokens)
    owner = {place: window for window in range(windows.count) for place in counted(windows, np.array([window]))}
    slow = {owner[place] for place in owner if units_of(np.array([place]), starts)[0] in chosen}
    assert windows.over(firsts[chosen], ends[chosen]).tolist() == sorted(slow)
    assert len(owner) == len(counted(windows, np.arange(windows.count)))
    for position in range(tokens):
        unit = max(index for index, start in enumerate(starts) if start <= position)
        assert units_of(np.array([position]), starts)[0] == unit


def test_unit_ranges_leave_out_the_first_token_and_units_without_tokens():
    firsts, ends = unit_ranges(np.array([0, 1, 4, 4]), 9)
    assert (ends - firsts).tolist() == [0, 3, 0, 5]
