"""The tokens that runs have used, and windows of unused tokens, against a computation window by window."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data import usage as module
from lmlab.data.fresh import FreshTokens, fresh_windows, sequences_an_epoch, training_batch
from lmlab.data.order import epoch_length, shifts, shuffled, window_starts
from lmlab.data.ranges import outside, ranges, size, union, within
from lmlab.data.usage import Use, read_use, shared_tokens, unused, used_by, used_by_each
from lmlab.data.windows import IGNORED_TARGET

ORDERS = ("shuffle", "shifted", "random")
SETS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def use(tokens, context, first, count, order="shuffle", seed=1, fresh=False, skipped=(), data=None):
    return Use(
        data=data or (("a" * 16, tokens),),
        seed=seed,
        order=order,
        context=context,
        cursor=(first, first + count),
        skipped=tuple(skipped),
        fresh=fresh,
    )


def members(found):
    return {token for first, end in found.tolist() for token in range(first, end)}


def check_form(found):
    """Sorted, not empty, with a gap between any two."""
    assert (found[:, 1] > found[:, 0]).all() and (found[1:, 0] > found[:-1, 1]).all()


def slowly_used(one, windows=None):
    """Every token of every window that was learnt from, a sequence and a position at a time."""
    found = set()
    for sequence in range(*one.cursor):
        if any(first <= sequence < end for first, end in one.skipped):
            continue
        if windows is None:
            start = window_starts(one.order, one.seed, one.tokens, one.context, sequence, 1)[0]
            end = start + one.context + 1
        else:
            (start,), (end,) = windows.at(one.seed, sequence, 1)
        found |= set(range(start, end))
    return found


@given(SETS, SETS, st.integers(0, 70))
def test_ranges_are_sets_of_tokens(one, other, tokens):
    left, right = (ranges([pair[0] for pair in pairs], [pair[1] for pair in pairs]) for pairs in (one, other))
    for found in (left, union(left, right), within(left, tokens), outside(left, 5, tokens)):
        check_form(found)
    assert members(left) == {token for first, end in one for token in range(first, end)}
    assert members(union(left, right)) == members(left) | members(right)
    assert members(within(left, tokens)) == {token for token in members(left) if token < tokens}
    assert members(outside(left, 5, tokens)) == set(range(5, tokens)) - members(left)
    assert size(left) == len(members(left))


@given(st.sampled_from(ORDERS), st.integers(0, 2**63 - 1), st.integers(1, 12), st.data())
def test_used_tokens_are_those_of_every_window(order, seed, context, data):
    tokens = data.draw(st.integers(context + 1, 150))
    first, count = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 80))
    skipped = data.draw(st.lists(st.tuples(st.integers(0, 140), st.integers(0, 9)), max_size=3))
    one = use(tokens, context, first, count, order, seed, skipped=[(begin, begin + more) for begin, more in skipped])
    found = used_by(one)
    check_form(found)
    assert members(found) == slowly_used(one)


@pytest.mark.parametrize("order", ORDERS)
def test_used_tokens_do_not_depend_on_how_many_windows_are_looked_at_together(monkeypatch, order):
    one = use(3000, 7, 411, 2000, order)
    whole = used_by(one)
    monkeypatch.setattr(module, "SEQUENCES_A_TIME", 13)
    assert np.array_equal(used_by(one), whole)
    assert members(whole) == slowly_used(one)


def test_many_epochs_of_a_large_split_are_counted_without_reading_them():
    tokens, context = 10**12 + 5, 1024
    length = epoch_length("shuffle", tokens, context)
    assert used_by(use(tokens, context, 0, 3 * length)).tolist() == [[0, length * context + 1]]


@given(st.integers(0, 2**63 - 1), st.integers(1, 30), st.integers(31, 300), st.integers(0, 1000))
def test_shifts_are_where_the_first_window_of_each_shifted_epoch_begins(seed, context, tokens, epoch):
    length = epoch_length("shifted", tokens, context)
    starts = window_starts("shifted", seed, tokens, context, epoch * length, 3 * length).reshape(3, length)
    assert shifts(seed, tokens, context, epoch, 3).tolist() == starts.min(axis=1).tolist()


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), min_size=1, max_size=8), st.integers(1, 12))
def test_fresh_windows_hold_unused_tokens_only_and_nearly_all_of_them(pairs, context):
    free = ranges([first for first, _ in pairs], [first + count for first, count in pairs])
    windows = fresh_windows(free, context)
    assert members(windows.held()) <= members(free)
    if not windows.count:
        assert (free[:, 1] - free[:, 0] - 1 < context / 2).all()
        return
    starts, ends = windows.at(3, 0, windows.count)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        assert set(range(start, end)) <= members(free)
        assert context / 2 <= end - start - 1 <= context
    # Each token is a target once at most, and what stays behind is less than half a window in every range.
    targets = [
        token for start, end in zip(starts.tolist(), ends.tolist(), strict=True) for token in range(start + 1, end)
    ]
    assert len(targets) == len(set(targets))
    assert members(windows.held()) == set(targets) | set(starts.tolist())
    for first, end in free.tolist():
        assert len(set(range(first + 1, end)) - set(targets)) < context / 2


@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_the_fresh_order_has_every_window_once_an_epoch_and_never_changes_with_the_cut(count, seed, epoch):
    order = shuffled(seed, count, epoch * count, count)
    assert np.array_equal(np.sort(order), np.arange(count))
    middle = count // 2
    parts = [
        shuffled(seed, count, epoch * count, middle),
        shuffled(seed, count, epoch * count + middle, count - middle),
    ]
    assert np.array_equal(np.concatenate(parts), order)


def test_the_fresh_order_never_changes():
    # As first released: another order would break every resume of a fresh run.
    assert shuffled(1, 10, 0, 12).tolist() == [0, 5, 4, 3, 8, 2, 1, 9, 7, 6, 3, 5]
    assert shuffled(1, 10, 0, 10).tolist() != (window_starts("shuffle", 1, 101, 10, 0, 10) // 10).tolist()


@given(st.integers(0, 2**63 - 1), st.integers(2, 12), st.data())
def test_a_fresh_batch_holds_the_tokens_of_its_windows_and_no_others(seed, context, data):
    tokens = np.random.default_rng(seed).integers(0, 65536, 400).astype(np.uint16)
    free = outside(used_by(use(400, context, 0, data.draw(st.integers(0, 300 // context)), seed=seed)), 0, 400)
    fresh = FreshTokens(tokens=tokens, unused=free, windows=fresh_windows(free, context))
    inputs, targets = training_batch(fresh, "random", seed, context, 3, 5)
    starts, ends = fresh.windows.at(seed, 3, 5)
    for start, end, row, target in zip(starts, ends, inputs, targets, strict=True):
        count = end - start - 1
        assert row[:count].tolist() == tokens[start : end - 1].tolist()
        assert target[:count].tolist() == tokens[start + 1 : end].tolist()
        assert (target[count:] == IGNORED_TARGET).all()
        assert (row[count:] == tokens[end - 1]).all(), "what fills a window up is its own last token"
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.flags["C_CONTIGUOUS"] and targets.flags["C_CONTIGUOUS"]


@given(st.sampled_from(ORDERS), st.integers(0, 2**63 - 1), st.integers(2, 9), st.data())
def test_three_generations_of_fresh_runs_never_share_a_token_and_the_counts_add_up(order, seed, context, data):
    tokens = 40 * context
    lineage = [use(tokens, context, 0, data.draw(st.integers(1, 25)), order, seed)]
    held = [slowly_used(lineage[0])]
    for _ in range(3):
        windows = fresh_windows(unused(lineage, lineage[0].data), context)
        if not windows.count:
            break
        lineage.append(use(tokens, context, 0, data.draw(st.integers(1, windows.count)), order, seed, fresh=True))
        held.append(slowly_used(lineage[-1], windows))
    for number, one in enumerate(held):
        assert not one & set().union(*held[:number])
    assert [members(found) for found in used_by_each(lineage)] == held
    left = unused(lineage, lineage[0].data)
    assert members(left) == set(range(tokens)) - set().union(*held)
    assert size(left) == tokens - sum(map(len, held))


@given(st.integers(0, 2**63 - 1), st.integers(2, 9), st.integers(0, 120), st.integers(0, 120))
def test_a_fresh_stream_that_goes_round_again_still_holds_its_own_windows_only(seed, context, first, count):
    parent = use(300, context, 0, 10, seed=seed)
    windows = fresh_windows(unused([parent], parent.data), context)
    child = use(300, context, first, count, seed=seed, fresh=True)
    assert members(used_by_each([parent, child])[1]) == slowly_used(child, windows)


def test_half_an_epoch_leaves_nearly_all_of_the_other_half_to_a_fresh_run():
    tokens, context = 100_001, 100
    parent = use(tokens, context, 0, 500)
    windows = fresh_windows(unused([parent], parent.data), context)
    assert windows.count == 500, "also those that lie between two used ones"
    assert size(windows.held()) > 0.98 * 50_000


def test_uses_count_where_data_sets_begin_alike_and_nowhere_else():
    old, extended, other = ("a" * 16, 1000), ("b" * 16, 1500), ("c" * 16, 1400)
    view = (("d" * 16, 300), old)
    assert shared_tokens((extended, old), (old,)) == 1000
    assert shared_tokens(view, (extended, old)) == 300
    assert shared_tokens(((("e" * 16), 1200), extended, old), (other, old)) == 1000, "an extension each of one data set"
    assert shared_tokens((other,), (old,)) == 0
    parent = use(1000, 10, 0, 50, data=(old,))
    held = members(used_by(parent))
    assert members(unused([parent], (extended, old))) == set(range(1500)) - held
    assert members(unused([parent], view)) == set(range(300)) - held
    assert members(unused([parent], (other,))) == set(range(1400))


def test_a_fresh_use_on_an_extended_data_set_is_what_its_parents_left_of_it():
    old, extended = (("a" * 16, 200),), (("b" * 16, 320), ("a" * 16, 200))
    first = use(200, 10, 0, 12, data=old)
    windows = fresh_windows(unused([first], extended), 10)
    second = use(320, 10, 0, windows.count, fresh=True, data=extended)
    assert members(used_by_each([first, second])[1]) == members(windows.held())
    assert max(members(windows.held())) >= 310, "what was added"
    assert not fresh_windows(unused([first, second], extended), 10).count


@given(st.sampled_from(ORDERS), st.booleans())
def test_a_use_comes_back_from_its_json(order, fresh):
    one = use(500, 8, 3, 40, order, fresh=fresh, skipped=[(4, 8)], data=(("a" * 16, 500), ("b" * 16, 300)))
    assert read_use(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize("change", [{"data": []}, {"data": 3}, {"seed": "x"}, {"cursor": [1]}, {"cursor": None}])
def test_a_damaged_use_is_refused_in_one_line(change):
    value = {**use(500, 8, 3, 40).to_json(), **change}
    with pytest.raises(LabError, match="damaged") as caught:
        read_use(value)
    assert "\n" not in str(caught.value)


def test_an_epoch_of_fresh_tokens_is_its_windows():
    free = ranges([0], [101])
    fresh = FreshTokens(tokens=np.arange(200, dtype=np.uint16), unused=free, windows=fresh_windows(free, 10))
    assert sequences_an_epoch(fresh, "random", 10) == 10
    assert sequences_an_epoch(fresh.tokens, "shuffle", 10) == epoch_length("shuffle", 200, 10)
