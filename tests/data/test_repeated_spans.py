"""Repeated spans: hashes of windows against sets of tuples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.hygiene import spans as spans_module
from lmlab.data.hygiene.hashing import span_hashes, window_hashes
from lmlab.data.hygiene.spans import find_spans, span_tokens
from lmlab.data.progress import Silent
from tests.data.support import Listener


def slow_cover(train, evaluated, length):
    known = {tuple(train[at : at + length]) for at in range(len(train) - length + 1)}
    covered = [False] * len(evaluated)
    for at in range(len(evaluated) - length + 1):
        if tuple(evaluated[at : at + length]) in known:
            covered[at : at + length] = [True] * length
    return covered


def found_in(train, evaluated, length, progress=None):
    train, evaluated = np.array(train, np.uint16), np.array(evaluated, np.uint16)
    return find_spans(train, evaluated, length, 300, 2.0, progress or Silent())


tokens = st.lists(st.integers(0, 2), max_size=60)


@given(tokens, tokens, st.integers(1, 6))
def test_what_is_covered_is_what_sets_of_tuples_say(train, evaluated, length):
    assert found_in(train, evaluated, length).covered().tolist() == slow_cover(train, evaluated, length)


@given(tokens, tokens, st.integers(1, 9), st.sampled_from([3, 7, 50]))
def test_many_windows_are_sifted_by_shorter_ones_without_loss(train, evaluated, length, portion):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans_module, "WINDOWS_A_TIME", 2)
        patch.setattr(spans_module, "TOKENS_A_TIME", portion)
        assert found_in(train, evaluated, length).covered().tolist() == slow_cover(train, evaluated, length)


def test_portions_of_any_size_find_the_same(monkeypatch):
    random = np.random.default_rng(0)
    train, evaluated = random.integers(0, 4, 3000), random.integers(0, 4, 900)
    evaluated[100:300] = train[2000:2200]
    whole = found_in(train, evaluated, 8)
    monkeypatch.setattr(spans_module, "TOKENS_A_TIME", 37)
    monkeypatch.setattr(spans_module, "WINDOWS_A_TIME", 41)
    monkeypatch.setattr(spans_module, "ROWS_A_TIME", 5)
    listener = Listener()
    parts = found_in(train, evaluated, 8, listener)
    assert parts.covered().tolist() == whole.covered().tolist() == slow_cover(train, evaluated, 8)
    assert (parts.first.tolist(), parts.end.tolist()) == (whole.first.tolist(), whole.end.tolist())
    assert len(listener.tasks) > 1
    assert all(done <= total for done, (_, total) in zip(listener.done, listener.tasks, strict=True))


def test_a_run_says_where_training_has_it():
    random = np.random.default_rng(1)
    train, evaluated = random.integers(0, 300, 500), random.integers(0, 300, 200)
    evaluated[50:90] = train[321:361]
    found = found_in(train, evaluated, 20)
    assert (found.first.tolist(), found.end.tolist(), found.place.tolist()) == ([50], [90], [321])


def test_equal_hashes_are_no_proof(monkeypatch):
    monkeypatch.setattr(spans_module, "random_words", lambda key, count: np.ones(count, np.uint64))
    found = found_in([1, 2, 3, 4], [4, 3, 2, 1], 2)
    assert not found.covered().any(), "with these values every window has the same hash"


def test_a_split_shorter_than_a_span_has_none():
    assert found_in(range(50), range(10), 20).covered().tolist() == [False] * 10
    assert found_in(range(5), range(50), 20).covered().tolist() == [False] * 50


def test_a_span_has_about_as_many_bytes_whatever_the_tokens_are():
    assert span_tokens(1000, 4000) == 50
    assert span_tokens(1000, 1000) == 200
    assert span_tokens(10, 1000) == 13
    assert span_tokens(10, 0) > 0


def test_hashes_are_those_of_the_formula():
    values = np.random.default_rng(2).integers(0, 1 << 63, 30).astype(np.uint64)
    factor = 0x9E3779B97F4A7C15
    slow = [
        sum(int(value) * factor**place for place, value in enumerate(values[at : at + 7])) % 2**64 for at in range(24)
    ]
    assert window_hashes(values, 7).tolist() == slow
    assert span_hashes(values, np.arange(24), np.arange(24) + 7).tolist() == slow
    assert window_hashes(values, 31).tolist() == []
