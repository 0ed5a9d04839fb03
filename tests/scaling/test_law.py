"""The loss law against brute force over a grid, published allocations and figures of published runs."""

import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.scaling.law import (
    BESIROGLU,
    effective_tokens,
    leaving,
)


def test_chinchillas_budget_is_best_spent_near_twenty_tokens_a_parameter():
    # arXiv 2404.10102: the law as it was fitted again agrees with the 70B model on 1.4T tokens.
    sizes = np.geomspace(1e9, 1e12, 10_001)
    losses = [BESIROGLU.law.loss(size, 5.76e23 / 6 / size) for size in sizes]
    best = sizes[int(np.argmin(losses))]
    assert 15 < 5.76e23 / 6 / best / best < 30
    # The law written out again with the published constants.
    tokens = 5.76e23 / 6 / best
    assert min(losses) == pytest.approx(1.8172 + 482.01 / best**0.3478 + 2085.43 / tokens**0.3658)


def test_repeated_tokens_are_worth_what_the_paper_says():
    assert effective_tokens(5e8, 1e9) == 5e8
    assert effective_tokens(1e9, None) == 1e9
    # arXiv 2305.16264: four passes are worth nearly four, and endless ones 1 + R*.
    assert effective_tokens(4e9, 1e9) == pytest.approx(1e9 * (1 + 15.39 * (1 - math.exp(-3 / 15.39))))
    assert 3.7e9 < effective_tokens(4e9, 1e9) < 4e9
    assert effective_tokens(1e15, 1e9) == pytest.approx(16.39e9)
    law = BESIROGLU.law
    assert law.loss(1e8, 4e9) < law.loss(1e8, 4e9, 1e9) < law.loss(1e8, 1e9) == law.loss(1e8, 1e9, 1e9)


def test_a_published_law_says_nothing_far_from_what_it_was_fitted_to():
    assert BESIROGLU.expected(1e6, 1.5e6, vocabulary=65) is None
    assert BESIROGLU.expected(1e9, 2e8, vocabulary=50_257) is None
    # Among few symbols its interval would reach what guessing costs.
    assert BESIROGLU.expected(1e9, 2e10, vocabulary=12) is None
    near = BESIROGLU.expected(163_009_536, 3_260_190_720, vocabulary=50_257)
    # What that model came to, by the plainest and the best of the published recipes.
    assert near.holds(3.9401) and near.holds(3.5382) and near.high - near.low < 2.5
    inside = BESIROGLU.expected(1e9, 2e10, vocabulary=50_257)
    assert inside.evidence == "published" and "were fitted" not in inside.alarm
    assert inside.high == pytest.approx(1.25 * BESIROGLU.law.loss(1e9, 2e10))


def test_figures_outside_a_range_are_told_by_how_much():
    ranges = {"parameters": (1e6, 1e7), "tokens": (1e6, 2e7)}
    assert leaving({"parameters": 1e6, "tokens": 2e7}, ranges) == []
    assert leaving({"parameters": 1e7 * 1.04, "tokens": 2e7}, ranges) == []
    assert leaving({"parameters": 5e5, "tokens": 1.6e8}, ranges) == [
        "1/2.0 of the smallest parameters that were fitted",
        "8.0 times the largest tokens that were fitted",
    ]
    with pytest.raises(LabError, match="expected a number above 0"):
        leaving({"parameters": 0.0, "tokens": 1e6}, ranges)
