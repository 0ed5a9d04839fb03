"""Bytes kept for the backward pass: the formula against what autograd saves."""

import contextlib

import pytest
import torch
from torch import Tensor

from lmlab.model.cost import activation_bytes
from lmlab.model.gpt import GPTModel
from tests.model.grid import OPTIONS, VOCABULARY, random_model, random_tokens, settings

SHAPES = {
    "small": {"layers": 3, "heads": 4, "width": 64, "context": 96},
    "long": {"layers": 2, "heads": 2, "width": 32, "context": 150},
}


def saved_bytes(model: GPTModel, tokens: Tensor, targets: Tensor) -> int:
    """The sizes of all distinct storages that autograd saves, parameters and inputs left out."""
    storages = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), tokens, targets]}
    total = 0
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if tensor.numel() and storage.data_ptr() not in storages:
            storages.add(storage.data_ptr())
            kept.append(tensor)
            total += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss_sum(tokens, targets)
    return total


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("option", [name for name in OPTIONS if name != "one_layer"])
@pytest.mark.parametrize("element_bytes", [4, 2])
def test_activation_bytes_are_what_autograd_saves(option: str, shape: str, element_bytes: int) -> None:
    config = settings(option, **SHAPES[shape])
    model = random_model(config)
    tokens, targets = random_tokens(3, config.context), random_tokens(3, config.context, seed=1)
    autocast = torch.autocast("cpu", torch.bfloat16) if element_bytes == 2 else contextlib.nullcontext()
    with autocast:
        measured = saved_bytes(model, tokens, targets)
    assert activation_bytes(config, VOCABULARY, 3, element_bytes) == pytest.approx(measured, rel=0.01)


def test_activation_bytes_of_one_layer_are_what_autograd_saves() -> None:
    config = settings("one_layer", **SHAPES["small"] | {"layers": 1})
    tokens, targets = random_tokens(3, config.context), random_tokens(3, config.context, seed=1)
    measured = saved_bytes(random_model(config), tokens, targets)
    assert activation_bytes(config, VOCABULARY, 3, 4) == pytest.approx(measured, rel=0.01)


def test_activation_bytes_of_a_gpu_differ_by_the_masks_of_dropout() -> None:
    plain = settings("gpt2")
    assert activation_bytes(plain, VOCABULARY, 2, 4, "cuda") == activation_bytes(plain, VOCABULARY, 2, 4, "cpu")
    dropped = settings("dropout")
    masks = 2 * 12 * 16 * (1 + 2 * 3)
    expected = activation_bytes(plain, VOCABULARY, 2, 2, "cuda") + masks
    assert activation_bytes(dropped, VOCABULARY, 2, 2, "cuda") == expected
