"""The fixed sample of a split's units."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.evaluation.sample import choose_units

UNIT = np.dtype([("key", "V32"), ("bytes", "<i8"), ("start", "<i8")])


def units_of_sizes(sizes: list[int]) -> np.ndarray:
    units = np.zeros(len(sizes), UNIT)
    units["start"] = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    units["key"] = [hashlib.sha256(b"%d" % number).digest() for number in range(len(sizes))]
    return units


def total(sizes: list[int], chosen: np.ndarray) -> int:
    return sum(sizes[index] for index in chosen) - (1 if 0 in chosen else 0)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=200), st.integers(1, 20_000), st.integers(0, 3))
def test_the_sample_is_of_whole_units_in_order_and_the_same_each_time(sizes, wanted, seed):
    sizes = [sizes[0] + 2, *sizes[1:]]
    chosen = choose_units(units_of_sizes(sizes), sum(sizes), wanted, seed)
    assert len(chosen) and chosen.tolist() == sorted(set(chosen.tolist()))
    assert chosen[0] >= 0 and chosen[-1] < len(sizes)
    assert np.array_equal(chosen, choose_units(units_of_sizes(sizes), sum(sizes), wanted, seed))


@given(st.lists(st.integers(50, 250), min_size=300, max_size=600), st.integers(2_000, 20_000), st.integers(0, 3))
def test_the_sample_has_about_as_many_tokens_as_wanted(sizes, wanted, seed):
    chosen = choose_units(units_of_sizes(sizes), sum(sizes), wanted, seed)
    assert total(sizes, chosen) == pytest.approx(wanted, rel=0.35)


def test_all_units_are_chosen_where_there_are_no_more_tokens_than_wanted():
    sizes = [100] * 30
    units = units_of_sizes(sizes)
    assert choose_units(units, 3000, 2999).tolist() == list(range(30))
    assert len(choose_units(units, 3000, 1500)) < 30


def test_another_seed_or_another_text_chooses_other_units():
    sizes = [50] * 2000
    units = units_of_sizes(sizes)
    first = choose_units(units, sum(sizes), 10_000)
    assert total(sizes, first) == pytest.approx(10_000, abs=300)
    assert first.tolist() != choose_units(units, sum(sizes), 10_000, seed=1).tolist()
    other = units.copy()
    other["key"] = other["key"][::-1]
    assert first.tolist() != choose_units(other, sum(sizes), 10_000).tolist()


def test_the_sample_is_spread_over_the_split_in_stretches():
    sizes = [50] * 4000
    chosen = choose_units(units_of_sizes(sizes), sum(sizes), 20_000)
    stretches = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
    assert 20 <= len(stretches) <= 34
    assert min(len(stretch) for stretch in stretches) * 50 >= 600
    assert np.histogram(chosen, bins=8, range=(0, 4000))[0] == pytest.approx(50, abs=13)


def test_every_unit_has_about_the_same_chance():
    sizes = [64] * 512
    units = units_of_sizes(sizes)
    times = np.zeros(512)
    for seed in range(300):
        times[choose_units(units, sum(sizes), 8192, seed)] += 1
    share = times / 300
    assert share.mean() == pytest.approx(0.25, abs=0.02)
    assert share.min() > 0.12 and share.max() < 0.40
