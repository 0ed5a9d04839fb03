"""Attention within documents: a window of several documents gives what each gives by itself."""

import pytest
import torch

from lmlab.model.documents import same_document
from lmlab.model.gpt import GPTModel
from lmlab.model.native import native_engine
from lmlab.recipe import Recipe
from lmlab.recipe.check import problems
from lmlab.recipe.model import GPT
from tests.engine import engine_library
from tests.model.grid import VOCABULARY, random_model, random_tokens, settings

BOUNDARY = 3


def documents(seed: int = 0) -> torch.Tensor:
    """Windows of 12 tokens with boundaries at different places, one at the beginning, two in a row."""
    tokens = random_tokens(4, 12, seed=seed)
    tokens[tokens == BOUNDARY] = 1
    for row, places in enumerate(([5], [0, 4, 9], [6, 7], [])):
        tokens[row, places] = BOUNDARY
    return tokens


@pytest.mark.parametrize("option", ["boundary", "boundary_dropout"])
def test_each_document_has_the_logits_that_it_has_alone(option: str) -> None:
    # Rotary positions: a document's logits don't depend on where it begins.
    model = random_model(settings(option, positions="rotary"), dtype=torch.float64).eval()
    tokens = documents()
    whole = model(tokens)
    for row in range(len(tokens)):
        places = [0, *(place for place in range(1, 12) if tokens[row, place] == BOUNDARY), 12]
        for start, end in zip(places, places[1:], strict=False):
            torch.testing.assert_close(whole[row, start:end], model(tokens[row : row + 1, start:end])[0])


def test_visible_tokens_are_those_from_the_last_boundary_on() -> None:
    tokens = documents()
    visible = same_document(tokens, BOUNDARY)
    for row in range(len(tokens)):
        for i in range(12):
            start = max([place for place in range(i + 1) if tokens[row, place] == BOUNDARY], default=0)
            assert visible[row, 0, i].nonzero().flatten().tolist() == list(range(start, i + 1))


def test_attention_with_dropout_drops_nothing_but_weights_of_the_own_document() -> None:
    model = random_model(settings("boundary_dropout", positions="rotary", layers=1), dtype=torch.float64)
    tokens = documents()
    other = tokens.clone()
    other[0, :5] = 7  # another first document
    torch.manual_seed(0)
    one = model(tokens)
    torch.manual_seed(0)
    changed = model(other)
    torch.testing.assert_close(one[0, 5:], changed[0, 5:])
    assert not torch.allclose(one[0, :5], changed[0, :5])


@pytest.mark.parametrize("cuts", [(12,), (1,) * 12, (5, 1, 6), (3, 4, 5)])
def test_decoding_sees_the_same_documents(cuts: tuple[int, ...]) -> None:
    model = random_model(settings("boundary"), dtype=torch.float64).eval()
    tokens, place = documents(), 0
    cache = model.start_cache(4, 12)
    for cut in cuts:
        found = model.advance(tokens[:, place : place + cut], cache)
        place += cut
        torch.testing.assert_close(found, model(tokens[:, :place])[:, -1])


def test_decoding_of_rows_of_different_lengths_sees_their_documents() -> None:
    model = random_model(settings("boundary"), dtype=torch.float64).eval()
    tokens, lengths = documents(), [5, 6, 8, 2]
    cache = model.start_cache(4, 12)
    model.advance(tokens[:, :8], cache, lengths)
    cache.select([2, 0, 1])
    rows = [2, 0, 1]
    following = torch.stack([tokens[row, lengths[row]] for row in rows]).unsqueeze(1)
    found = model.advance(following, cache)
    for index, row in enumerate(rows):
        torch.testing.assert_close(found[index], model(tokens[row : row + 1, : lengths[row] + 1])[0, -1])


def test_the_native_engine_has_the_same_scores_gradients_and_logits() -> None:
    engine_library()
    model: GPTModel = random_model(settings("boundary", context=48, width=40, heads=4), scale=0.2)
    engine = native_engine(model, 2)
    assert engine is not None
    tokens = torch.cat([documents(seed) for seed in range(4)], dim=1)
    targets = random_tokens(4, 48, seed=9)
    model.loss_sum(tokens, targets).backward()
    engine.learn(tokens.numpy(), targets.numpy(), 1.0, 0, accumulate=False)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(engine.gradients[name], parameter.grad, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        nats, _ = model.scores(tokens, targets)
    torch.testing.assert_close(
        torch.from_numpy(engine.scores(tokens.numpy(), targets.numpy())[0]), nats, rtol=1e-4, atol=1e-4
    )


def test_tables_of_ngrams_and_a_boundary_are_refused_together() -> None:
    found = list(problems(Recipe(model=GPT(boundary=3, ngrams=(2,)))))
    assert any("reach across them" in line for line in found) and VOCABULARY > BOUNDARY
