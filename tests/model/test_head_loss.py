"""The loss in chunks against the loss of all logits at once."""

import contextlib

import numpy as np
import pytest
import torch
from torch import Tensor

import lmlab.model.gpt_shapes as shapes
from lmlab.evaluation.losses import windows_at_once
from lmlab.model.cost import activation_bytes
from lmlab.model.gpt import GPTModel
from lmlab.model.gpt_shapes import loss_chunk
from lmlab.model.head_loss import chunked_loss_sum, chunked_scores
from lmlab.model.loss import IGNORED, loss_sum, token_losses
from lmlab.recipe.model import GPT
from tests.model.grid import OPTIONS, VOCABULARY, random_model, random_tokens, settings
from tests.model.test_memory import saved_bytes

TOKENS, WIDTH = 13, 5


@pytest.fixture
def in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute every loss in chunks of three tokens."""
    monkeypatch.setattr(shapes, "LARGEST_LOGITS", 0)
    monkeypatch.setattr(shapes, "CHUNK_LOGITS", {"cpu": 3 * VOCABULARY + 1})


def head(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a stream, a matrix, a bias and targets, some of which are ignored."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(size, generator=generator, dtype=dtype).requires_grad_()
        for size in ((TOKENS, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
    )
    targets = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    targets[[0, 4]] = IGNORED
    return x, weight, bias, targets


@pytest.mark.parametrize("chunk", [1, 4, 13, 100])
@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("biased", [True, False])
def test_gradients_are_those_of_finite_differences(chunk: int, cap: float, biased: bool) -> None:
    x, weight, bias, targets = head()

    def loss(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return chunked_loss_sum(x, weight, bias if biased else None, targets, cap, chunk)

    assert torch.autograd.gradcheck(loss, (x, weight, bias.requires_grad_(biased)))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_models_loss_and_gradients_are_those_without_chunks(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(option, dropout=0.0)
    model = random_model(config, dtype=torch.float64)
    tokens, targets = random_tokens(3, config.context), random_tokens(3, config.context, seed=1)
    targets[1, 4:] = IGNORED
    found = []
    for largest in (1 << 26, 0):
        monkeypatch.setattr(shapes, "LARGEST_LOGITS", largest)
        monkeypatch.setattr(shapes, "CHUNK_LOGITS", {"cpu": 4 * VOCABULARY})
        model.zero_grad()
        loss = model.loss_sum(tokens, targets)
        (loss / 7).backward()
        found.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    for plain, chunked in zip(*found, strict=True):
        torch.testing.assert_close(chunked, plain, rtol=1e-10, atol=1e-12)


def test_scores_are_the_nats_and_hits_of_all_logits() -> None:
    x, weight, bias, targets = head(torch.float32)
    with torch.no_grad():
        logits = 2.0 * torch.tanh((x @ weight.t() + bias) / 2.0)
        nats, hits = chunked_scores(x, weight, bias, targets, 2.0, 4)
    torch.testing.assert_close(nats, token_losses(logits[None], targets[None])[0])
    np.testing.assert_array_equal(hits, logits.argmax(-1) == targets)
    assert loss_sum(logits[None], targets[None]).item() == pytest.approx(nats.sum().item(), rel=1e-6)


def test_products_of_autocast_are_bfloat16_and_gradients_float32(in_chunks: None) -> None:
    x, weight, bias, targets = head(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        plain = loss_sum(torch.nn.functional.linear(x, weight, bias)[None], targets[None])
        chunked = chunked_loss_sum(x, weight, bias, targets, 0.0, 4)
    expected = torch.autograd.grad(plain, (x, weight, bias))
    found = torch.autograd.grad(chunked, (x, weight, bias))
    torch.testing.assert_close(chunked, plain, rtol=1e-3, atol=0)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def test_a_loss_that_is_not_finite_stays_so_and_ignored_rows_do_not_count() -> None:
    x, weight, bias, targets = head()
    broken = x.detach().clone()
    broken[0] = torch.nan  # its target is ignored
    loss = chunked_loss_sum(broken.requires_grad_(), weight, bias, targets, 0.0, 4)
    clean = chunked_loss_sum(x, weight, bias, targets, 0.0, 4)
    assert loss.item() == pytest.approx(clean.item(), rel=1e-12)
    broken.data[1] = torch.inf
    assert not torch.isfinite(chunked_loss_sum(broken, weight, bias, targets, 0.0, 4))


@pytest.mark.parametrize("element_bytes", [4, 2])
@pytest.mark.parametrize("option", ["gpt2", "modern", "untied_head_bias"])
def test_activation_bytes_are_what_autograd_saves(option: str, element_bytes: int, in_chunks: None) -> None:
    config = settings(option, layers=2, width=64, heads=4, context=96)
    model = random_model(config)
    tokens, targets = random_tokens(3, config.context), random_tokens(3, config.context, seed=1)
    with torch.autocast("cpu", torch.bfloat16) if element_bytes == 2 else contextlib.nullcontext():
        measured = saved_bytes(model, tokens, targets)
    assert activation_bytes(config, VOCABULARY, 3, element_bytes) == pytest.approx(measured, rel=0.01)


def test_the_largest_tensor_of_a_pass_is_one_chunk_of_logits() -> None:
    config = GPT(layers=1, heads=1, width=8, context=512)
    model = GPTModel(config, 50_257)
    sizes: list[int] = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            found = function(*args, **(kwargs or {}))
            sizes.extend(
                one.numel() for one in (found if isinstance(found, tuple) else [found]) if isinstance(one, Tensor)
            )
            return found

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.01)
    tokens = torch.zeros(4, 512, dtype=torch.long)
    with Sizes():
        model.loss_sum(tokens, tokens).backward()
    chunk = loss_chunk(4 * 512, 50_257, "cpu")
    assert chunk is not None and max(sizes) <= chunk * 50_257 < 4 * 512 * 50_257 / 4


def test_small_losses_are_computed_at_once_and_scoring_is_not_bounded_by_logits() -> None:
    assert loss_chunk(64 * 256, 65, "cpu") is None and loss_chunk(32 * 1024, 50_257, "cuda") is not None
    assert windows_at_once(1024, 50_257, "cpu", in_chunks=True) == 4 > windows_at_once(1024, 50_257, "cpu")
