"""The recurrence's kernel against a slow loop from the equations in float64, and against PyTorch's loop."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lmlab.model.context import ContextModel
from lmlab.model.recurrence import ForwardPass, run
from lmlab.model.recurrence_native import kernel_for
from lmlab.native.library import Library
from lmlab.recipe.model import Context
from tests.model.context_loop import VOCABULARY, random_context, slow_logits
from tests.model.grid import random_tokens

SHAPES: dict[str, dict] = {
    "three_layers": {"layers": 3, "width": 6, "hidden": 48, "vector": 32},
    "one_layer": {"layers": 1, "width": 5, "hidden": 16, "vector": 16},
    "twelve_layers": {"layers": 12, "width": 8, "hidden": 32, "vector": 48},
    "wide_vector": {"layers": 2, "width": 3, "hidden": 64, "vector": 160},
    "residual": {"layers": 4, "width": 6, "hidden": 48, "vector": 32, "residual": True},
    "one_layer_normed": {"layers": 1, "width": 5, "hidden": 32, "vector": 16, "residual": True},
}
ROWS_AND_TIMES = [(5, 12), (1, 7), (2, 1), (33, 2), (150, 9)]


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def settings(shape: str, **changes: object) -> Context:
    return Context(**{"dropout": 0.0, "context": 12, **SHAPES[shape], **changes})


def model_of(shape: str, share: float = 0.0) -> ContextModel:
    """So that sums are about 1 and errors don't grow from step to step; some of the vector's numbers reach their limit."""
    config = settings(shape, dropout=share)
    model = random_context(config, dtype=torch.float32, scale=0.7 / config.hidden**0.5)
    torch.nn.init.constant_(model.norm.weight, 1.0)
    with torch.no_grad():
        model.norm.weight[::5] = 6.0
    assert kernel_for(model, config, model.embedding.weight) is not None
    return model


def passed_by(model: ContextModel, z: Tensor, seed: int) -> ForwardPass:
    """A pass of the kernel over z that keeps everything, with the masks of this seed."""
    torch.manual_seed(seed)
    vector = torch.zeros(z.shape[1], model.config.vector)
    kernel = kernel_for(model, model.config, z)
    assert kernel is not None
    return run(z, vector, model._weights(z.dtype), model._cell, len(z) - 1, keep=True, kernel=kernel)


def gradients(model: ContextModel, loss: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if own is None else own
        for (name, parameter), own in zip(named.items(), found, strict=True)
    }


def assert_near(found: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    """To the rounding of float32: of the parameter's gradient, or, where that cancels out, of the whole one's."""
    whole = torch.stack([gradient.norm() for gradient in exact.values()]).norm()
    for name, gradient in exact.items():
        assert (found[name].double() - gradient).norm() <= 5e-5 * gradient.norm() + 5e-6 * whole, name


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows, time", ROWS_AND_TIMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_all_gradients_equal_those_of_the_slow_loop_in_float64(
    library: Library, shape: str, rows: int, time: int, threads: int, share: float
) -> None:
    torch.set_num_threads(threads)
    model = model_of(shape, share)
    tokens, targets = random_tokens(rows, time), random_tokens(rows, time, seed=1)
    targets[0, time // 2 :] = -100
    torch.manual_seed(7)
    loss = model.loss_sum(tokens, targets)
    masks = None
    if share:
        # A number above zero was passed and kept; where relu passes nothing, the mask says nothing.
        passed = passed_by(model, model._embedded(tokens), 7)
        kept = torch.cat((passed.lower, passed.top[None])) > 0
        masks = [kept[:, step].double() / (1 - share) for step in range(time)]
    exact = copy.deepcopy(model).double()
    nats = -slow_logits(exact, tokens, masks)[0].log_softmax(-1).gather(2, targets.clamp_min(0).unsqueeze(2)).squeeze(2)
    expected = (nats * (targets >= 0)).sum()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert_near(gradients(model, loss), gradients(exact, expected))


def test_vectors_reach_their_limit_in_these_tests(library: Library) -> None:
    model = model_of("three_layers")
    vectors = passed_by(model, model._embedded(random_tokens(33, 12)), 0).vectors.abs()
    assert (vectors == 10).any() and (vectors[1:] < 10).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_of_a_pass_is_near_that_of_pytorch_s_loop(library: Library, shape: str) -> None:
    model = model_of(shape)
    tokens = random_tokens(33, 12)
    z, vector = model._embedded(tokens), torch.randn(33, model.config.vector)
    for updates, keep in ((11, True), (12, True), (12, False), (11, False)):
        ours, theirs = (
            run(z, vector, model._weights(z.dtype), model._cell, updates, keep, kernel)
            for kernel in (kernel_for(model, model.config, z), None)
        )
        for name in ("top", "lower", "vectors", "gates", "mixed", "means", "deviations"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-3, atol=1e-4)


def ones_with_dropout(share: float, rows: int, time: int, threads: int) -> Tensor:
    """What every layer gives where all are given ones, [layer, step, row, column]: the masks themselves."""
    torch.set_num_threads(threads)
    model = model_of("three_layers", share)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("blocks"):
                parameter.fill_(float(name.endswith("bias")))
    passed = passed_by(model, model._embedded(random_tokens(rows, time)), 3)
    return torch.cat((passed.lower, passed.top[None]))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_drops_the_share_asked_for_and_keeps_the_mean(library: Library, share: float) -> None:
    masks = ones_with_dropout(share, 64, 12, 2)
    numbers = masks.numel()
    assert torch.equal(masks.unique(), torch.tensor([0.0, masks.max()]))
    assert float(masks.max()) == pytest.approx(1 / (1 - share), rel=1e-5)
    # Six standard deviations of as many independent draws.
    assert float((masks == 0).float().mean()) == pytest.approx(share, abs=6 * (share * (1 - share) / numbers) ** 0.5)


def test_masks_of_layers_steps_and_rows_have_nothing_to_do_with_each_other(library: Library) -> None:
    masks = (ones_with_dropout(0.5, 64, 12, 2) > 0).float() * 2 - 1
    for axes in ((0, 1, 2, 3), (1, 0, 2, 3), (2, 0, 1, 3), (3, 0, 1, 2)):
        lines = masks.permute(axes).flatten(1)
        alike = lines @ lines.t() / lines.shape[1]
        assert float(alike.fill_diagonal_(0).abs().max()) < 6 / lines.shape[1] ** 0.5


@pytest.mark.bitwise
def test_masks_depend_neither_on_threads_nor_on_the_rows_of_a_batch(library: Library) -> None:
    whole = ones_with_dropout(0.3, 150, 9, 1)
    for threads in (2, 3):
        assert torch.equal(ones_with_dropout(0.3, 150, 9, threads), whole)
    assert torch.equal(ones_with_dropout(0.3, 40, 9, 2), whole[:, :, :40])


def test_masks_follow_the_global_generator_and_none_is_drawn_in_evaluation(library: Library) -> None:
    model = model_of("three_layers", 0.3)
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


@pytest.mark.bitwise
def test_equal_calls_give_equal_bits_and_rows_those_that_they_have_with_other_threads(library: Library) -> None:
    model = model_of("three_layers", 0.2)
    tokens, targets = random_tokens(150, 12), random_tokens(150, 12, seed=1)
    found, z = [], model._embedded(tokens)
    for threads in (2, 2, 3, 1):
        torch.set_num_threads(threads)
        torch.manual_seed(5)
        loss = model.loss_sum(tokens, targets)
        found.append((passed_by(model, z, 5).top, gradients(model, loss)))
    for top, own in found[1:]:
        assert torch.equal(top, found[0][0])
        assert_near(own, {name: gradient.double() for name, gradient in found[0][1].items()})
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


@pytest.mark.bitwise
def test_logits_without_gradients_are_bit_for_bit_those_with(library: Library) -> None:
    model = model_of("three_layers", 0.5).eval()
    tokens = random_tokens(33, 9)
    expected = model(tokens)
    with torch.no_grad():
        assert torch.equal(model(tokens), expected)
    with torch.inference_mode():
        assert torch.equal(model(tokens), expected)


@pytest.mark.bitwise
def test_passes_that_are_under_way_together_have_memory_of_their_own(library: Library) -> None:
    model = model_of("three_layers")
    batches = [(random_tokens(9, 7, seed=seed), random_tokens(9, 7, seed=seed + 5)) for seed in range(3)]
    alone = [gradients(model, model.loss_sum(*batch)) for batch in batches]
    losses = [model.loss_sum(*batch) for batch in batches]
    for loss, expected in zip(losses, alone, strict=True):
        found = gradients(model, loss)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    loss = model.loss_sum(*batches[0])
    loss.backward(retain_graph=True)
    again = gradients(model, loss)
    assert all(torch.equal(again[name], alone[0][name]) for name in again)


def test_what_is_no_number_stays_none(library: Library) -> None:
    for name in ("blocks.0.weight", "blocks.1.bias", "gates.weight", "norm.weight"):
        model = model_of("three_layers")
        with torch.no_grad():
            dict(model.named_parameters())[name].view(-1)[-1] = float("nan")
        loss = model.loss_sum(random_tokens(3, 9), random_tokens(3, 9, seed=1))
        assert torch.isnan(loss), name
        assert any(gradient.isnan().any() for gradient in gradients(model, loss).values()), name


def test_pytorch_computes_what_the_kernel_does_not(library: Library) -> None:
    model = model_of("three_layers")
    weight = model.embedding.weight
    assert kernel_for(model, settings("three_layers", hidden=40), weight) is None
    assert kernel_for(model, settings("three_layers", vector=8), weight) is None
    assert kernel_for(model, model.config, weight.double()) is None
    assert kernel_for(model, model.config, weight.bfloat16()) is None
    tokens = random_tokens(3, 12)
    expected, _ = slow_logits(copy.deepcopy(model).double(), tokens)
    torch.testing.assert_close(copy.deepcopy(model).double()(tokens), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(tokens).dtype == torch.bfloat16
    logits = model(tokens)
    model.engine = "torch"
    assert not torch.equal(model(tokens), logits)
    torch.testing.assert_close(model(tokens), logits, rtol=1e-4, atol=1e-4)


def test_a_kernel_lives_as_long_as_its_model_and_its_threads(library: Library) -> None:
    model = model_of("one_layer")
    torch.set_num_threads(2)
    kernel = kernel_for(model, model.config, model.embedding.weight)
    assert kernel is kernel_for(model, model.config, model.embedding.weight)
    torch.set_num_threads(1)
    other = kernel_for(model, model.config, model.embedding.weight)
    assert other is not None and other is not kernel and other.threads == 1


def test_the_vocabulary_of_these_tests_lies_between_few_and_many_tokens() -> None:
    # So that the embedding's part is both looked up and computed for each token.
    assert 1 * 7 < VOCABULARY < 5 * 12
