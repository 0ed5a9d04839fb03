"""Work in threads whose results come in the order of the items, with few items in memory."""

import threading
import time
import tracemalloc

import pytest

from lmlab.data.in_order import HELD_A_WORKER, in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers):
    def slow_at_first(number):
        time.sleep(0.002 * (5 - number % 5))
        return number * number

    assert list(in_order(slow_at_first, range(40), workers)) == [(number, number * number) for number in range(40)]


def test_several_items_are_computed_at_the_same_time():
    barrier = threading.Barrier(3, timeout=10)
    assert [found for _, found in in_order(lambda number: barrier.wait() >= 0, range(6), 3)] == [True] * 6


@pytest.mark.parametrize("workers", [1, 4])
def test_items_are_taken_only_as_results_are(workers):
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(abs, items(), workers)
    for _ in range(10):
        next(results)
    assert len(taken) <= 10 + HELD_A_WORKER * workers
    results.close()


def test_nothing_is_taken_while_the_consumer_may_have_enough():
    taken = []
    results = in_order(abs, (taken.append(number) or number for number in range(100)), 4, lambda: len(taken) >= 5)
    for _ in range(5):
        next(results)
    assert len(taken) == 5
    next(results)  # it wasn't enough
    assert len(taken) == 6
    results.close()


def test_an_error_comes_at_its_item_and_ends_the_threads():
    def fails(number):
        if number == 3:
            raise ValueError("three")
        return number

    before, found = threading.active_count(), []
    with pytest.raises(ValueError, match="three"):
        for item, _ in in_order(fails, range(1000), 3):
            found.append(item)
    assert found == [0, 1, 2]
    assert threading.active_count() == before


def test_ten_times_the_items_take_no_more_memory():
    def peak(count):
        tracemalloc.start()
        for _ in in_order(len, (bytes(50_000) for _ in range(count)), 3):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)
    assert peak(300) < 1.3 * peak(30) + 100_000
