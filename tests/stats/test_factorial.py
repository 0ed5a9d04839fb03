"""Contrasts against a textbook's worked example, an additive table, and the variance of simulated experiments."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.stats.factorial import Contrast, covers, difference, interaction, main_effect

# Montgomery, Design and Analysis of Experiments, section 6.2: totals over 3 replicates of a 2 x 2 design.
TOTALS = {(0, 0): 80, (1, 0): 100, (0, 1): 60, (1, 1): 90}
MEANS = {cell: total / 3 for cell, total in TOTALS.items()}


def test_main_effects_are_those_of_the_textbook():
    assert main_effect((2, 2), 0, 1).value(MEANS) == pytest.approx(8.33, abs=0.005)
    assert main_effect((2, 2), 1, 1).value(MEANS) == pytest.approx(-5.00, abs=0.005)


def test_the_interaction_is_twice_the_textbook_s_which_halves_the_difference_of_effects():
    assert interaction((2, 2), (0, 1), (1, 1)).value(MEANS) == pytest.approx(2 * 1.67, abs=0.01)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=3), min_size=2, max_size=3))
def test_in_an_additive_table_main_effects_are_the_parts_and_there_is_no_interaction(parts):
    effects = [[0.0, *levels] for levels in parts]
    levels = [len(one) for one in effects]
    means = {
        cell: 3.0 + sum(one[at] for one, at in zip(effects, cell, strict=True))
        for cell in itertools.product(*(range(count) for count in levels))
    }
    for factor, one in enumerate(effects):
        for level in range(1, len(one)):
            assert main_effect(levels, factor, level).value(means) == pytest.approx(one[level], abs=1e-9)
    for first, second in itertools.combinations(range(len(levels)), 2):
        for level, beside in itertools.product(range(1, levels[first]), range(1, levels[second])):
            contrast = interaction(levels, (first, level), (second, beside))
            assert contrast.value(means) == pytest.approx(0.0, abs=1e-9)
            assert sum(contrast.weights.values()) == pytest.approx(0.0, abs=1e-12)


def test_the_variance_is_that_of_simulated_experiments():
    counts = {(0, 0): 3, (1, 0): 2, (0, 1): 5, (1, 1): 1}
    generator = np.random.default_rng(1)
    for contrast in (main_effect((2, 2), 0, 1), interaction((2, 2), (0, 1), (1, 1)), difference((1, 0), (0, 0))):
        drawn = [
            contrast.value({cell: generator.normal(size=count).mean() for cell, count in counts.items()})
            for _ in range(4000)
        ]
        first, second = contrast.runs(counts)
        assert np.var(drawn) == pytest.approx(1 / first + 1 / second, rel=0.08)


def test_a_plain_difference_counts_the_runs_of_its_two_cells():
    assert difference((1,), (0,)).runs({(1,): 3, (0,): 5}) == (3, 5)


def test_contrasts_add_up_and_weights_that_cancel_go():
    whole = difference((1, 1), (0, 0)).plus(difference((1, 0), (0, 0)), -1.0).plus(difference((0, 1), (0, 0)), -1.0)
    assert whole.weights == interaction((2, 2), (0, 1), (1, 1)).weights
    assert difference((1,), (0,)).plus(difference((0,), (1,))).weights == {}


def test_a_contrast_needs_all_of_its_cells():
    assert covers(difference((1,), (0,)), {(0,), (1,)})
    assert not covers(difference((1,), (0,)), {(0,)})
    with pytest.raises(KeyError):
        Contrast({(1,): 1.0, (0,): -1.0}).value({(0,): 1.0})
