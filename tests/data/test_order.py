"""The order of the batches: every window once an epoch, independent of how batches are divided, and unchanged since its release."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data.order import batch_at, epoch_length, window_starts, windows_in

ORDERS = ("shuffle", "shifted", "random")
SIZES = st.one_of(st.integers(1, 4), st.integers(1, 3000))
SEEDS = st.integers(0, 2**63 - 1)


def order_of_epoch(seed, windows, epoch, context=3):
    """The windows in the order of that epoch, by their numbers."""
    starts = window_starts("shuffle", seed, windows * context + 1, context, epoch * windows, windows)
    assert (starts % context == 0).all()
    return starts // context


def z_score(chi_square, degrees):
    """How many standard deviations above its mean a chi-square is; near normal for many degrees of freedom."""
    return (chi_square - degrees) / np.sqrt(2 * degrees)


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


@given(SIZES, SEEDS, st.integers(0, 10**6))
def test_every_window_comes_exactly_once_an_epoch(windows, seed, epoch):
    assert sorted(order_of_epoch(seed, windows, epoch)) == list(range(windows))


@pytest.mark.parametrize("windows", [1, 2, 3, 4, 5, 6, 8, 9, 10, 99, 100, 101, 65535, 65536, 65537])
def test_the_permutation_holds_at_the_edges_of_its_grid(windows):
    assert np.array_equal(np.sort(order_of_epoch(11, windows, 3)), np.arange(windows))


@given(st.integers(1, 40), st.integers(1, 4000), SEEDS, st.integers(0, 10**6))
def test_a_shifted_epoch_is_a_shuffled_one_elsewhere(context, extra, seed, epoch):
    tokens = context + extra
    size = epoch_length("shifted", tokens, context)
    starts = np.sort(window_starts("shifted", seed, tokens, context, epoch * size, size))
    assert (np.diff(starts) == context).all()
    # As many windows as fit beside any offset, and no offset beyond a window's length.
    assert size == max(1, (tokens - context) // context)
    assert starts[0] < context and starts[-1] + context < tokens


@pytest.mark.parametrize("context", [5, 64, 1000])
def test_consecutive_epochs_are_shifted_evenly(context):
    epochs, tokens = 400, 4 * context + 7
    size = epoch_length("shifted", tokens, context)
    starts = window_starts("shifted", 3, tokens, context, 0, epochs * size).reshape(epochs, size)
    offsets = starts.min(axis=1)
    for first in range(0, epochs - 20, 20):
        for count in (2, 5, 20):
            some = np.sort(offsets[first : first + count])
            gaps = np.diff(np.append(some, some[0] + context))
            # Steps of the golden ratio leave no gap above (1 + 2 / sqrt 5) times the even one.
            assert gaps.max() <= 1.9 * context / count + 1


@given(st.integers(1, 50), st.integers(2, 5000), SEEDS, st.sampled_from(ORDERS))
def test_no_window_reaches_beyond_the_split(context, extra, seed, order):
    tokens = context + extra
    starts = window_starts(order, seed, tokens, context, 0, 200)
    assert starts.min() >= 0
    assert (starts + context + 1).max() <= tokens


@given(
    st.sampled_from(ORDERS), SEEDS, st.integers(30, 4000), st.integers(1, 29), st.integers(0, 9999), st.integers(1, 6)
)
def test_batches_are_the_same_however_they_are_cut(order, seed, tokens, context, first, ranks):
    per_rank = 5
    whole = window_starts(order, seed, tokens, context, first, ranks * per_rank)
    by_rank = [window_starts(order, seed, tokens, context, first + rank * per_rank, per_rank) for rank in range(ranks)]
    by_sequence = [window_starts(order, seed, tokens, context, first + k, 1) for k in range(ranks * per_rank)]
    assert np.array_equal(np.concatenate(by_rank), whole)
    assert np.array_equal(np.concatenate(by_sequence), whole)


def test_a_batch_across_the_end_of_an_epoch_takes_from_both():
    last_and_first = window_starts("shuffle", 5, 7 * 4 + 1, 4, 2 * 7 - 3, 6) // 4
    assert last_and_first[:3].tolist() == order_of_epoch(5, 7, 1)[-3:].tolist()
    assert last_and_first[3:].tolist() == order_of_epoch(5, 7, 2)[:3].tolist()


def test_seeds_and_epochs_give_different_orders():
    orders = [tuple(order_of_epoch(seed, 500, epoch)) for seed in range(20) for epoch in range(20)]
    assert len(set(orders)) == len(orders)
    draws = [tuple(window_starts("random", seed, 5000, 10, 0, 50)) for seed in range(20)]
    assert len(set(draws)) == len(draws)


def test_neighbouring_epochs_and_places_are_uncorrelated():
    windows = 20_000
    one, two = (order_of_epoch(3, windows, epoch).astype(float) for epoch in (0, 1))
    # The correlation of independent orders has a standard deviation of 1 / sqrt(windows) = 0.007.
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.03
    # Two uniform places are a third of the range apart on average.
    assert np.abs(np.diff(one)).mean() / windows == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("windows", [2, 3, 5, 6, 7, 18, 31])
def test_each_window_is_equally_likely_at_each_place(windows):
    epochs = 4000
    starts = window_starts("shuffle", 7, windows + 1, 1, 0, epochs * windows).reshape(epochs, windows)
    counts = np.stack([np.bincount(column, minlength=windows) for column in starts.T])
    assert z_score(chi_square(counts, epochs / windows), (windows - 1) ** 2) < 4
    pairs = np.zeros((windows, windows))
    np.add.at(pairs, (starts[:, 0], starts[:, 1]), 1)
    apart = pairs[~np.eye(windows, dtype=bool)]
    assert z_score(chi_square(apart, epochs / apart.size), apart.size - 1) < 4


@pytest.mark.parametrize("positions", [7, 64, 1000])
def test_random_starts_are_uniform(positions):
    starts = window_starts("random", 1, positions + 8, 8, 0, 200_000)
    counts = np.bincount(starts, minlength=positions)
    assert len(counts) == positions
    assert abs(z_score(chi_square(counts, 200_000 / positions), positions - 1)) < 4
    neighbours = np.corrcoef(starts[:-1], starts[1:])[0, 1]
    assert abs(neighbours) < 0.01


def test_a_million_million_windows_need_no_memory():
    windows, context = 10**12, 1024
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        starts = window_starts("shuffle", 9, windows * context + 1, context, 5 * 10**14 - 64, 128)
        draws = window_starts("random", 9, windows * context + 1, context, 5 * 10**14 - 64, 128)
    assert len(set(starts.tolist())) == 128
    assert (starts % context == 0).all()
    assert starts.max() // context < windows
    assert starts.max() // context > 0.9 * windows
    assert len(set(draws.tolist())) == 128


GOLDEN_ORDERS = {
    ("shuffle", 1, 101, 10, 0, 20): [0, 30, 80, 60, 40, 90, 10, 70, 50, 20, 80, 60, 20, 90, 10, 30, 0, 70, 50, 40],
    ("shuffle", 2**63 - 1, 10**12, 1024, 10**10, 4): [515430801408, 917862934528, 267065931776, 229205369856],
    ("shifted", 1, 101, 10, 0, 20): [86, 66, 46, 6, 36, 16, 76, 26, 56, 83, 23, 3, 13, 53, 43, 33, 73, 63, 29, 9],
    ("shifted", 2**63 - 1, 10**12, 1024, 10**10, 4): [253702020570, 356584837594, 650269706714, 803082269146],
    ("random", 1, 101, 10, 0, 8): [61, 9, 34, 57, 5, 58, 34, 3],
    ("random", 2**63 - 1, 10**12, 1024, 10**10, 4): [851623588679, 415934864355, 450199265218, 674714987562],
}
"""As first released: another order would change what every recipe trains on, and break every resume."""


@pytest.mark.parametrize("arguments", GOLDEN_ORDERS)
def test_the_order_never_changes(arguments):
    assert window_starts(*arguments).tolist() == GOLDEN_ORDERS[arguments]


def split_mix(word):
    """SplitMix64 as published, on a whole number."""
    word = (word + 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


@given(SEEDS, st.integers(12, 10**15), st.integers(0, 10**15))
def test_random_starts_are_those_of_whole_number_arithmetic(seed, tokens, number):
    key = split_mix((split_mix(seed) + 2) % 2**64)
    draw = split_mix(split_mix((number * 0x9E3779B97F4A7C15 + key) % 2**64))
    assert window_starts("random", seed, tokens, 10, number, 1).tolist() == [draw % (tokens - 10)]


@given(st.sampled_from(ORDERS), SEEDS, st.integers(2, 400), st.data())
def test_a_batch_holds_the_tokens_at_its_starts(order, seed, length, data):
    context = data.draw(st.integers(1, length - 1))
    tokens = np.random.default_rng(seed).integers(0, 65536, length).astype(np.uint16)
    inputs, targets = batch_at(tokens, order, seed, context, 3, 5)
    for start, row, target in zip(window_starts(order, seed, length, context, 3, 5), inputs, targets, strict=True):
        assert row.tolist() == tokens[start : start + context].tolist()
        assert target.tolist() == tokens[start + 1 : start + context + 1].tolist()
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.flags["C_CONTIGUOUS"] and targets.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_a_batch_reads_a_memory_map_and_can_be_written_to(tmp_path, kind):
    path = tmp_path / "tokens.bin"
    np.arange(1000, dtype=kind).tofile(path)
    inputs, targets = batch_at(np.memmap(path, dtype=kind, mode="r"), "shuffle", 1, 16, 0, 4)
    assert type(inputs) is np.ndarray
    assert (targets == inputs + 1).all()
    inputs[0, 0] = -1
    targets[0, 0] = -100


def test_an_epoch_is_as_long_as_its_order_has_windows():
    assert [epoch_length("shuffle", tokens, 10) for tokens in (10, 11, 21, 30, 31)] == [0, 1, 2, 2, 3]
    assert [epoch_length("shifted", tokens, 10) for tokens in (10, 11, 21, 30, 31)] == [0, 1, 1, 2, 2]


def test_windows_are_counted_with_the_target_after_the_last():
    assert [windows_in(tokens, 10) for tokens in (0, 1, 10, 11, 20, 21, 22)] == [0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("order", ORDERS)
def test_a_split_shorter_than_a_window_is_refused(order):
    assert window_starts(order, 1, 11, 10, 0, 3).tolist() == [0, 0, 0]
    with pytest.raises(LabError, match="10 tokens.*11"):
        window_starts(order, 1, 10, 10, 0, 1)


def test_an_unknown_order_is_refused_with_the_known_ones():
    with pytest.raises(LabError, match="shuffle, random"):
        window_starts("sorted", 1, 100, 10, 0, 1)
