"""Filters against loops over Python lists."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.generation.filters import filtered, keep_min_p, keep_top_k, keep_top_p, penalise_repeats, with_temperature
from lmlab.generation.settings import Sampling

rows = st.lists(st.integers(-40, 40).map(lambda eighths: eighths / 8), min_size=2, max_size=12)
ids = st.sets(st.integers(0, 11))


def tensor(row):
    return torch.tensor([row], dtype=torch.float64)


def kept(logits):
    return [number for number, value in enumerate(logits[0].tolist()) if value > -math.inf]


def softmax(row):
    weights = [math.exp(value) for value in row]
    return [weight / sum(weights) for weight in weights]


@given(rows, st.floats(0.1, 5.0))
def test_temperature_raises_each_probability_to_its_inverse(row, temperature):
    powers = [share ** (1 / temperature) for share in softmax(row)]
    expected = [power / sum(powers) for power in powers]
    assert with_temperature(tensor(row), temperature).softmax(-1)[0].tolist() == pytest.approx(expected)


def test_a_minute_temperature_overflows_nothing():
    logits = with_temperature(torch.tensor([[3.0, 2.0, -1.0]]), 1e-44)
    assert logits.softmax(-1).tolist() == [[1.0, 0.0, 0.0]]


@given(rows, st.integers(1, 14))
def test_top_k_keeps_what_fewer_than_k_tokens_beat(row, k):
    expected = [number for number, value in enumerate(row) if sum(other > value for other in row) < k]
    assert kept(keep_top_k(tensor(row), k)) == expected


@given(rows, st.floats(0.05, 0.999))
def test_top_p_keeps_the_fewest_likeliest_tokens_that_reach_p(row, p):
    shares = softmax(row)
    order = sorted(range(len(row)), key=lambda number: (-row[number], number))
    chosen, total = [], 0.0
    for number in order:
        if total >= p - 1e-12:
            break
        chosen.append(number)
        total += shares[number]
    assert kept(keep_top_p(tensor(row), p)) == sorted(chosen)


@given(rows, st.floats(0.01, 0.99))
def test_min_p_keeps_what_has_that_share_of_the_likeliest(row, share):
    shares = softmax(row)
    expected = [number for number, own in enumerate(shares) if own >= share * max(shares)]
    assert kept(keep_min_p(tensor(row), share)) == expected


@given(rows, ids, st.floats(0.5, 3.0))
def test_repeats_are_divided_where_positive_and_multiplied_where_negative(row, seen, penalty):
    mask = torch.tensor([[number in seen for number in range(len(row))]])
    expected = [
        value if number not in seen else value / penalty if value > 0 else value * penalty
        for number, value in enumerate(row)
    ]
    assert penalise_repeats(tensor(row), mask, penalty)[0].tolist() == pytest.approx(expected)


@given(rows)
def test_what_is_off_changes_no_probability(row):
    seen = torch.ones(1, len(row), dtype=torch.bool)
    assert filtered(tensor(row), seen, Sampling()).softmax(-1)[0].tolist() == pytest.approx(softmax(row))


@given(rows, st.integers(1, 12), st.floats(0.05, 1.0), st.floats(0.0, 1.0))
def test_all_together_always_leave_the_likeliest(row, k, p, share):
    seen = torch.zeros(1, len(row), dtype=torch.bool)
    logits = filtered(tensor(row), seen, Sampling(top_k=k, top_p=p, min_p=share, temperature=0.7))
    assert row.index(max(row)) in kept(logits)


def test_rows_are_filtered_one_by_one():
    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    seen = torch.rand(5, 30, generator=torch.Generator().manual_seed(2)) < 0.3
    sampling = Sampling(top_k=12, top_p=0.8, min_p=0.05, repetition_penalty=1.3, temperature=0.9)
    together = filtered(logits, seen, sampling)
    alone = [filtered(logits[row : row + 1], seen[row : row + 1], sampling) for row in range(5)]
    assert torch.equal(together, torch.cat(alone))
