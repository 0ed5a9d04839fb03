"""Draws: which token a number picks, and where the numbers come from."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.generation.draw import draw, likeliest, stream_key, uniform


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=10), st.floats(0, 1, exclude_max=True))
def test_the_token_drawn_is_where_the_cumulative_probability_passes_the_number(row, number):
    weights = [math.exp(value) for value in row]
    token = draw(torch.tensor([row], dtype=torch.float64), [number]).item()
    assert sum(weights[:token]) / sum(weights) <= number + 1e-12
    assert sum(weights[: token + 1]) / sum(weights) > number - 1e-12


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2.0**-53])
def test_a_token_of_probability_zero_is_never_drawn(number):
    logits = torch.full((1, 9), -math.inf)
    logits[0, [3, 5]] = torch.tensor([0.3, 0.1])
    assert draw(logits, [number]).item() in (3, 5)


def test_tokens_come_as_often_as_they_are_likely():
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    draws = 4000
    numbers = [uniform(stream_key(1, [7], 0), position) for position in range(draws)]
    counts = Counter(draw(shares.log().expand(draws, 4), numbers).tolist())
    for token, share in enumerate(shares.tolist()):
        # Four standard deviations of a binomial count.
        assert abs(counts[token] - draws * share) < 4 * math.sqrt(draws * share * (1 - share))


def test_rows_draw_as_they_would_alone():
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(1))
    numbers = [uniform(stream_key(3, [1, 2], sample), 5) for sample in range(6)]
    alone = [draw(logits[row : row + 1], [numbers[row]]).item() for row in range(6)]
    assert draw(logits, numbers).tolist() == alone


def test_seed_prompt_sample_and_position_each_give_another_number():
    keys = [stream_key(*words) for words in ((1, [1, 23], 0), (2, [1, 23], 0), (1, [12, 3], 0), (1, [1, 23], 1))]
    numbers = {uniform(key, position) for key in keys for position in range(100)}
    assert len(numbers) == 400
    assert all(0 <= number < 1 for number in numbers)


def test_the_likeliest_of_equals_is_the_lowest():
    assert likeliest(torch.tensor([[1.0, 4.0, 4.0], [2.0, 2.0, 2.0], [-9.0, -9.0, -8.0]])).tolist() == [1, 0, 2]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_diverged_model_is_an_error_in_one_line(broken):
    logits = torch.tensor([[0.0, broken, 1.0]])
    for pick in (lambda: draw(logits, [0.5]), lambda: likeliest(logits)):
        with pytest.raises(LabError, match="no finite numbers"):
            pick()
