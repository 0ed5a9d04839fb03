"""N-gram tables: each token's row by a slow version of the definition, and what the rows are added to."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.model.ngrams import ABSENT, ngram_rows, reach
from tests.model.grid import random_model, random_tokens, settings


def slow_row(tokens: list[int], place: int, length: int, rows: int, vocabulary: int) -> int:
    """The definition, with whole numbers of any size."""
    window = [0] * length + [token + 1 for token in tokens[: place + 1]]
    number = sum(digit * ((vocabulary + 1) | 1) ** back for back, digit in enumerate(reversed(window[-length:])))
    if ((vocabulary + 1) | 1) ** length <= rows:
        return number
    return (number * 0x9E3779B97F4A7C15 % 2**64 // 2**32) % rows


@given(
    st.integers(1, 60_000).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size - 1), min_size=1, max_size=12))
    ),
    st.lists(st.integers(2, 8), min_size=1, max_size=4, unique=True),
    st.integers(1, 2**31 - 1) | st.sampled_from([1, 2, 16_384, 100_003]),
)
def test_rows_are_those_of_the_slow_definition(text: tuple[int, list[int]], lengths: list[int], rows: int) -> None:
    vocabulary, tokens = text
    found = ngram_rows(torch.tensor([tokens]), lengths, rows, vocabulary)
    for length, places in zip(lengths, found, strict=True):
        slow = [slow_row(tokens, place, length, rows, vocabulary) for place in range(len(tokens))]
        assert places.tolist() == [slow]


@pytest.mark.parametrize(
    "length, rows, expected",
    [
        (2, 4_489, [1, 132, 4368, 879, 601, 4420, 4389, 2280]),
        (3, 16_384, [14777, 933, 8900, 6121, 16097, 5250, 3392, 19]),
        (8, 50_000, [35769, 20597, 49428, 39064, 48636, 36765, 33843, 39649]),
    ],
)
def test_rows_are_those_of_the_native_engine(length: int, rows: int, expected: list[int]) -> None:
    """From `ngram_row` of lmlab/native/source/model.h."""
    tokens = torch.tensor([[0, 64, 12, 7, 64, 64, 33, 1]])
    assert ngram_rows(tokens, [length], rows, 65)[0].tolist() == [expected]


def test_a_table_with_room_for_all_has_a_row_for_each_ngram() -> None:
    tokens = torch.cartesian_prod(torch.arange(10), torch.arange(10), torch.arange(10))
    (pairs,) = ngram_rows(tokens, [2], 121, 10)
    # 10 first tokens with none before them, and 100 pairs.
    assert len(pairs.unique()) == 110
    assert int(pairs.max()) == 120


def test_rows_of_pieces_are_those_of_the_whole() -> None:
    tokens, lengths = random_tokens(3, 12), (2, 5)
    whole = ngram_rows(tokens, lengths, 1_000, 11)
    earlier = torch.cat((torch.full((3, 4), ABSENT), tokens[:, :7]), dim=1)[:, -reach(lengths) :]
    for part, expected in zip(ngram_rows(tokens[:, 7:], lengths, 1_000, 11, earlier), whole, strict=True):
        assert torch.equal(part, expected[:, 7:])


@pytest.mark.parametrize("option", ["untied", "modern"])
def test_tables_are_added_to_the_token_embedding_wherever_that_is_used(option: str) -> None:
    """A table whose rows are all alike is a change of every row of the embedding, which later blocks see too."""
    config = settings(option)
    plain = random_model(config).eval()
    tabled = random_model(dataclasses.replace(config, ngrams=(3, 2), ngram_rows=5)).eval()
    one, two = torch.randn(2, 16, generator=torch.Generator().manual_seed(3))
    weights = plain.state_dict()
    tabled.load_state_dict(
        {**weights, "ngram_tables.0.weight": one.expand(5, -1), "ngram_tables.1.weight": two.expand(5, -1)}
    )
    plain.load_state_dict({**weights, "embedding.weight": weights["embedding.weight"] + one + two})
    tokens = random_tokens(2, 12)
    torch.testing.assert_close(tabled(tokens), plain(tokens))


def test_a_window_is_read_as_if_nothing_stood_before_it() -> None:
    model = random_model(settings("modern_ngrams_dropout")).eval()
    tokens = random_tokens(2, 12)
    together = model(torch.stack((tokens[0, 4:], tokens[1, 4:])))
    torch.testing.assert_close(together[0], model(tokens[:1, 4:])[0])
    assert not torch.allclose(model(tokens)[:, 4:], together)


def test_a_table_gets_the_gradients_of_the_tokens_that_looked_up_its_rows() -> None:
    model = random_model(settings("ngrams"), dtype=torch.float64)
    tokens, targets = random_tokens(2, 12), random_tokens(2, 12, seed=1)
    model.loss_sum(tokens, targets).backward()
    for table, rows in zip(model.ngram_tables, ngram_rows(tokens, (2, 3), 150, 11), strict=True):
        met = table.weight.grad.abs().sum(dim=1) > 0
        assert set(met.nonzero().flatten().tolist()) == set(rows.flatten().tolist())
