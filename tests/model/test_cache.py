"""Decoding with the cache gives what reading everything again gives."""

import pytest
import torch

from lmlab import LabError
from lmlab.model.protocol import LanguageModel
from tests.model.grid import OPTIONS, random_model, random_tokens, settings

NEAR = {torch.float32: {"rtol": 1e-4, "atol": 1e-4}, torch.float64: {"rtol": 1e-10, "atol": 1e-10}}


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("option", OPTIONS)
def test_reading_piece_by_piece_equals_reading_at_once(option: str, dtype: torch.dtype) -> None:
    model = random_model(settings(option), dtype=dtype, scale=0.3).eval()
    tokens = random_tokens(3, 12)
    with torch.inference_mode():
        expected = model(tokens)
        cache = model.start_cache(3, 12)
        read = 0
        for new in (4, 1, 1, 3, 1, 2):
            logits = model.advance(tokens[:, read : read + new], cache)
            read += new
            assert cache.held == [read] * 3
            torch.testing.assert_close(logits, expected[:, read - 1], **NEAR[dtype])


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("option", OPTIONS)
def test_rows_of_different_lengths_equal_each_row_alone(option: str, dtype: torch.dtype) -> None:
    model = random_model(settings(option), dtype=dtype, scale=0.3).eval()
    lengths, tokens = [2, 7, 4], random_tokens(3, 7)
    following = random_tokens(3, 4, seed=1)
    with torch.inference_mode():
        cache = model.start_cache(3, 12)
        together = [model.advance(tokens, cache, lengths)]
        together += [model.advance(following[:, step : step + 1], cache) for step in range(4)]
        for row, length in enumerate(lengths):
            whole = torch.cat((tokens[row, :length], following[row]))
            alone = model(whole[None])[0, length - 1 :]
            torch.testing.assert_close(torch.stack([logits[row] for logits in together]), alone, **NEAR[dtype])
    assert cache.held == [6, 11, 8]


@pytest.mark.parametrize("option", ["modern", "modern_ngrams_dropout"])
def test_selected_rows_go_on_as_before_in_the_order_asked_for(option: str) -> None:
    model = random_model(settings(option), dtype=torch.float64, scale=0.3).eval()
    tokens, following = random_tokens(3, 5), random_tokens(3, 1, seed=1)
    with torch.inference_mode():
        cache = model.start_cache(3, 12)
        model.advance(tokens, cache, [5, 3, 4])
        cache.select([2, 0, 2])
        assert cache.held == [4, 5, 4]
        logits = model.advance(following, cache)
        for row, source in enumerate((2, 0, 2)):
            whole = torch.cat((tokens[source, : [5, 3, 4][source]], following[row]))
            torch.testing.assert_close(logits[row], model(whole[None])[0, -1])


def test_a_cache_refuses_more_tokens_than_its_capacity() -> None:
    model = random_model(settings("gpt2")).eval()
    cache = model.start_cache(2, 6)
    model.advance(random_tokens(2, 4), cache)
    with pytest.raises(LabError, match="at most 6 tokens a row, but 4 \\+ 3"):
        model.advance(random_tokens(2, 3), cache)
    assert cache.held == [4, 4]
    with pytest.raises(LabError, match="longer than the model's context of 12"):
        model.start_cache(2, 13)


def test_a_gpt_is_a_language_model() -> None:
    model: LanguageModel = random_model(settings("gpt2"))
    assert (model.vocabulary, model.context, model.device.type, model.training) == (11, 12, "cpu", True)
    assert model.train(False) is model
    assert not model.training
