"""Shapley values against the definition over all orders, on additive and interacting functions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.stats.shapley import cells_in, every_cell, exact_values, sampled_orders, sampling_error, values_in


def by_definition(table, changes):
    """The mean marginal effect over every order: slow and obvious."""
    sums = [0.0] * changes
    for order in itertools.permutations(range(changes)):
        made = [0] * changes
        for change in order:
            before = table[tuple(made)]
            made[change] = 1
            sums[change] += table[tuple(made)] - before
    return [total / math.factorial(changes) for total in sums]


@given(st.integers(1, 4), st.integers(0, 1000))
def test_values_are_those_of_the_definition_and_add_up_to_the_whole(changes, seed):
    generator = np.random.default_rng(seed)
    table = {cell: float(generator.normal()) for cell in every_cell(changes)}
    values = [contrast.value(table) for contrast in exact_values(changes)]
    assert values == pytest.approx(by_definition(table, changes))
    assert sum(values) == pytest.approx(table[(1,) * changes] - table[(0,) * changes])


def test_of_an_additive_function_they_are_its_parts_from_one_order_already():
    parts = [0.3, -0.2, 0.0, 1.5, 0.1]
    table = {cell: 2.0 + sum(part for part, on in zip(parts, cell, strict=True) if on) for cell in every_cell(5)}
    assert [contrast.value(table) for contrast in exact_values(5)] == pytest.approx(parts)
    orders = sampled_orders(5, 1)
    assert [contrast.value(table) for contrast in values_in(orders[:1])] == pytest.approx(parts)
    assert math.isnan(sampling_error(orders, 0, table))
    assert sampling_error(sampled_orders(5, 3), 0, table) == pytest.approx(0.0, abs=1e-12)


def test_an_interaction_of_two_is_shared_equally():
    table = {cell: float(cell[0] and cell[2]) for cell in every_cell(3)}
    assert [contrast.value(table) for contrast in exact_values(3)] == pytest.approx([0.5, 0.0, 0.5])
    # One order and its reverse are enough for interactions by twos.
    assert [contrast.value(table) for contrast in values_in(sampled_orders(3, 1))] == pytest.approx([0.5, 0.0, 0.5])


def test_sampled_orders_come_near_with_the_error_that_they_say():
    generator = np.random.default_rng(3)
    table = {cell: float(generator.normal()) for cell in every_cell(6)}
    true = [contrast.value(table) for contrast in exact_values(6)]
    missed = []
    for seed in range(60):
        orders = sampled_orders(6, 10, seed)
        for change, contrast in enumerate(values_in(orders)):
            missed.append((contrast.value(table) - true[change]) / sampling_error(orders, change, table))
    assert 0.8 < float(np.std(missed)) < 1.4


def test_sampled_values_add_up_to_the_whole():
    generator = np.random.default_rng(5)
    orders = sampled_orders(5, 2)
    table = {cell: float(generator.normal()) for order in orders for cell in cells_in(order)}
    total = sum(contrast.value(table) for contrast in values_in(orders))
    assert total == pytest.approx(table[(1,) * 5] - table[(0,) * 5])


def test_cells_begin_with_the_two_ends():
    assert every_cell(2) == [(0, 0), (1, 1), (0, 1), (1, 0)]
