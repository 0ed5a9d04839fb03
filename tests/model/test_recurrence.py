"""The recurrence with its own way back against a slow loop from the equations, differentiated by autograd."""

import pytest
import torch
from torch import Tensor

from lmlab.model.context import ContextModel
from lmlab.model.dropout import dropout_factors
from lmlab.model.recurrence_gradient import ROWS_AT_ONCE
from tests.model.context_loop import SHAPES, VOCABULARY, random_context, settings, slow_logits
from tests.model.grid import random_tokens


def gradients(model: ContextModel, loss: Tensor) -> dict[str, Tensor]:
    """Of every parameter; zeros where the loss doesn't depend on it."""
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if own is None else own
        for (name, parameter), own in zip(named.items(), found, strict=True)
    }


def slow_loss(model: ContextModel, tokens: Tensor, targets: Tensor, masks: list[Tensor] | None) -> Tensor:
    logits, _ = slow_logits(model, tokens, masks)
    nats = -logits.log_softmax(-1).gather(2, targets.clamp_min(0).unsqueeze(2)).squeeze(2)
    return (nats * (targets >= 0)).sum()


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("rows, time", [(3, 12), (1, 7), (5, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_all_gradients_equal_those_of_the_slow_loop(shape: str, rows: int, time: int, share: float) -> None:
    config = settings(shape, dropout=share)
    model = random_context(config)
    tokens, targets = random_tokens(rows, time), random_tokens(rows, time, seed=1)
    targets[0, time // 2 :] = -100
    masks = None
    if share:
        torch.manual_seed(7)
        masks = [dropout_factors((config.layers, rows, config.hidden), share, model.norm.weight) for _ in range(time)]
        torch.manual_seed(7)
    loss = model.loss_sum(tokens, targets)
    expected = slow_loss(model, tokens, targets, masks)
    torch.testing.assert_close(loss, expected)
    own, slow = gradients(model, loss), gradients(model, expected)
    for name in slow:
        assert torch.allclose(own[name], slow[name], rtol=1e-9, atol=1e-9), name


def test_vectors_reach_their_limit_in_these_tests() -> None:
    # Else the gradient through the clamp would be tested by nothing.
    _, vectors = slow_logits(random_context(settings("wide_vector")), random_tokens(3, 12))
    numbers = torch.stack(vectors).abs()
    assert (numbers == 10).any() and (numbers < 10).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_the_slow_loop_s_with_and_without_gradients(shape: str) -> None:
    model = random_context(settings(shape, dropout=0.5)).eval()
    for rows in (4, 1):  # more tokens than symbols, and fewer
        tokens = random_tokens(rows, 9)
        expected, _ = slow_logits(model, tokens)
        torch.testing.assert_close(model(tokens), expected)
        with torch.no_grad():
            torch.testing.assert_close(model(tokens), expected)
        with torch.inference_mode():
            torch.testing.assert_close(model(tokens), expected)


def test_masks_follow_the_global_generator_and_none_is_drawn_in_evaluation() -> None:
    model = random_context(settings("three_layers", dropout=0.3))
    tokens, targets = random_tokens(2, 8), random_tokens(2, 8, seed=1)
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append(float(model.loss_sum(tokens, targets).detach()))
    assert losses[0] == losses[1] != losses[2]
    model.eval()
    state = torch.get_rng_state()
    model.loss_sum(tokens, targets)
    assert torch.equal(torch.get_rng_state(), state)


def test_bf16_is_about_as_near_to_float64_as_the_slow_loop_under_autocast() -> None:
    config = settings("three_layers", width=32, hidden=48, vector=24)
    errors: dict[str, list[tuple[float, float]]] = {}
    for seed in range(4):
        tokens, targets = random_tokens(8, 12, seed=seed), random_tokens(8, 12, seed=seed + 9)
        model, exact = (random_context(config, seed, kind, scale=0.15) for kind in (torch.float32, torch.float64))
        for one in (model, exact):
            torch.nn.init.ones_(one.norm.weight)
        with torch.autocast("cpu", torch.bfloat16):
            losses = model.loss_sum(tokens, targets), slow_loss(model, tokens, targets, None)
            cache = model.start_cache(8, 12)
            model.advance(tokens, cache)
        assert losses[0].dtype == cache.vector.dtype == torch.float32
        found, theirs = (gradients(model, loss) for loss in losses)
        for name, wanted in gradients(exact, slow_loss(exact, tokens, targets, None)).items():
            own, slow = (float((some[name].double() - wanted).norm() / wanted.norm()) for some in (found, theirs))
            errors.setdefault(name, []).append((own, slow))
    for name, pairs in errors.items():
        # The embedding's part of the first layer is rounded once more than in one product with the vector's.
        assert sum(own for own, _ in pairs) < 1.5 * sum(slow for _, slow in pairs), name


def test_float32_comes_near_float64() -> None:
    config = settings("three_layers", width=32, hidden=48, vector=24, dropout=0.2)
    model, exact = (random_context(config, dtype=kind, scale=0.15) for kind in (torch.float32, torch.float64))
    tokens, targets = random_tokens(8, 12), random_tokens(8, 12, seed=1)
    found = []
    for one in (model, exact):
        torch.nn.init.ones_(one.norm.weight)
        torch.manual_seed(3)
        found.append(gradients(one, one.loss_sum(tokens, targets)))
    for name, gradient in found[1].items():
        assert float((found[0][name].double() - gradient).norm() / gradient.norm()) < 1e-4, name


@pytest.mark.parametrize("rows_at_once", [1, 3, 9, 20, 35])
def test_gradients_of_weights_are_the_same_from_few_steps_at_once_and_from_many(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_context(settings("three_layers", dropout=0.3))
    tokens, targets = random_tokens(3, 12), random_tokens(3, 12, seed=1)
    found = []
    for rows in (1000, rows_at_once):
        monkeypatch.setitem(ROWS_AT_ONCE, "cpu", rows)
        torch.manual_seed(2)
        found.append(gradients(model, model.loss_sum(tokens, targets)))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name])


def test_equal_calls_give_equal_bits() -> None:
    model = random_context(settings("three_layers", dropout=0.2), dtype=torch.float32)
    tokens, targets = random_tokens(6, 12), random_tokens(6, 12, seed=1)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        loss = model.loss_sum(tokens, targets)
        found.append((loss, gradients(model, loss)))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_the_vocabulary_of_these_tests_lies_between_few_and_many_tokens() -> None:
    # So that the embedding's part is both looked up and computed for each token.
    assert 1 * 7 < VOCABULARY < 3 * 12
