"""Cross-entropy in nats, summed or a token at a time."""

import math

import pytest
import torch

from lmlab.model.loss import loss_sum, token_losses
from tests.model.grid import VOCABULARY, random_model, random_tokens, settings


def test_losses_are_minus_the_log_of_the_targets_probability() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 4, -100], [2, -100, 1]])
    losses = token_losses(logits, targets)
    for row in range(2):
        for time in range(3):
            target = int(targets[row, time])
            powers = [math.exp(value) for value in logits[row, time].tolist()]
            expected = 0.0 if target == -100 else -math.log(powers[target] / sum(powers))
            assert float(losses[row, time]) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(loss_sum(logits, targets), losses.sum())


def test_nothing_to_predict_costs_nothing() -> None:
    assert float(loss_sum(torch.randn(1, 3, 5), torch.full((1, 3), -100))) == 0.0


def test_low_precision_logits_are_summed_in_float32() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    losses = token_losses(logits, torch.zeros(2, 3, dtype=torch.long))
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, token_losses(logits.float(), torch.zeros(2, 3, dtype=torch.long)))


def test_the_models_loss_of_a_batch_is_the_sum_of_its_parts() -> None:
    model = random_model(settings("modern"), dtype=torch.float64).requires_grad_(False)
    tokens, targets = random_tokens(4, 12), random_tokens(4, 12, seed=1)
    parts = [model.loss_sum(tokens[row : row + 1], targets[row : row + 1]) for row in range(4)]
    torch.testing.assert_close(model.loss_sum(tokens, targets), torch.stack(parts).sum())
    assert 0 < float(model.loss_sum(tokens, targets)) / 48 < 2 * math.log(VOCABULARY)
