"""Operation counts: the formula against PyTorch's counter, exactly."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmlab.model.build import build_model
from lmlab.model.cost import flops_per_token, palm_flops_per_token
from lmlab.recipe.model import GPT
from tests.model.grid import OPTIONS, VOCABULARY, random_model, random_tokens, settings


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("time", [12, 5])
def test_flops_equal_those_that_pytorch_counts(option: str, time: int) -> None:
    config = settings(option)
    model = random_model(config)
    tokens, targets = random_tokens(3, time), random_tokens(3, time, seed=1)
    expected = flops_per_token(config, VOCABULARY, context=time)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            loss = model.loss_sum(tokens, targets)
        assert counter.get_total_flops() == expected.forward * 3 * time
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        assert counter.get_total_flops() == expected.backward * 3 * time


def test_flops_of_gpt2_small_equal_those_that_pytorch_counts() -> None:
    config = GPT(layers=12, heads=12, width=768, context=1024)
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
        model = build_model(config, 50_257)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 1024, dtype=torch.long))
    assert counter.get_total_flops() == flops_per_token(config, 50_257).forward * 1024


@pytest.mark.parametrize("option", OPTIONS)
def test_training_flops_are_palms_formula(option: str) -> None:
    config = settings(option)
    assert flops_per_token(config, VOCABULARY).training == palm_flops_per_token(config, VOCABULARY)
    halved = flops_per_token(config, VOCABULARY, context=7, causal=True).training
    assert halved == palm_flops_per_token(config, VOCABULARY, effective_context=4.0)


def test_palm_figure_of_gpt2_small_by_hand() -> None:
    config = GPT(layers=12, heads=12, width=768, context=1024)
    matrices = 12 * 12 * 768**2 + 50_257 * 768
    assert palm_flops_per_token(config, 50_257) == 6 * matrices + 12 * 12 * 768 * 1024


def test_dropout_on_a_cpu_does_not_change_the_count() -> None:
    config = settings("grouped")
    dropped = dataclasses.replace(config, dropout=0.5)
    counts = []
    for entry in (config, dropped):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            random_model(entry).loss_sum(random_tokens(2, 12), random_tokens(2, 12)).backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]
