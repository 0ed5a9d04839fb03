"""The engine against PyTorch: the same losses and gradients to the rounding of float32, whatever the model's options."""

import copy

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.model.gpt import GPTModel
from lmlab.model.native import native_engine
from lmlab.native.library import Library
from tests.model.grid import OPTIONS, VOCABULARY, random_model, settings

WITHOUT_DROPOUT = [name for name in OPTIONS if "dropout" not in name]
ODD_SHAPES = {
    "gpt2": {"width": 20, "heads": 5, "context": 37},
    "modern": {"width": 18, "heads": 3, "context": 35, "kv_heads": 1},
    "swiglu": {"width": 36, "heads": 2, "context": 33, "hidden": 23, "layers": 1},
    "ngrams": {"width": 33, "heads": 3, "context": 5},
}


def batch(sequences: int, time: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and targets, some of which don't count."""
    generator = np.random.default_rng(seed)
    tokens, targets = generator.integers(0, VOCABULARY, (2, sequences, time))
    targets[0, : time // 2] = -100
    return tokens, targets


def in_float64(
    model: GPTModel, tokens: np.ndarray, targets: np.ndarray, scale: float
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss's sum and its scaled gradient by PyTorch in float64."""
    exact = copy.deepcopy(model).double()
    loss = exact.loss_sum(torch.from_numpy(tokens), torch.from_numpy(targets))
    (loss * scale).backward()
    gradients = {name: parameter.grad for name, parameter in exact.named_parameters()}
    return loss.item(), {name: torch.zeros(()) if grad is None else grad for name, grad in gradients.items()}


def assert_equal_gradients(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> None:
    """To the rounding of float32: of the parameter's gradient, or, where that cancels out, of the whole one's."""
    whole = torch.stack([gradient.norm() for gradient in exact.values()]).norm()
    for name, gradient in exact.items():
        assert (found[name].double() - gradient).norm() <= 1e-5 * gradient.norm() + 1e-6 * whole, name


@pytest.mark.parametrize("name", WITHOUT_DROPOUT)
def test_loss_and_gradients_are_pytorchs(library: Library, name: str) -> None:
    model = random_model(settings(name))
    tokens, targets = batch(5, 12)
    loss, gradients = in_float64(model, tokens, targets, 0.125)
    engine = native_engine(model, 2)
    assert engine is not None
    assert engine.learn(tokens, targets, 0.125) == pytest.approx(loss, rel=1e-5)
    assert_equal_gradients(engine.gradients, gradients)


@pytest.mark.parametrize("name", ODD_SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_shapes_that_no_vector_fits(library: Library, name: str, threads: int) -> None:
    model = random_model(settings(name, **ODD_SHAPES[name]), scale=0.3)
    tokens, targets = batch(4, model.context)
    loss, gradients = in_float64(model, tokens, targets, 1.0)
    engine = native_engine(model, threads)
    assert engine is not None
    assert engine.learn(tokens, targets, 1.0) == pytest.approx(loss, rel=1e-5)
    assert_equal_gradients(engine.gradients, gradients)


@pytest.mark.parametrize("name", ["gpt2", "modern", "ngrams"])
def test_windows_shorter_than_the_context(library: Library, name: str) -> None:
    model = random_model(settings(name))
    tokens, targets = batch(3, 7)
    loss, gradients = in_float64(model, tokens, targets, 1.0)
    engine = native_engine(model, 2)
    assert engine is not None
    assert engine.learn(tokens, targets, 1.0) == pytest.approx(loss, rel=1e-5)
    assert_equal_gradients(engine.gradients, gradients)


@pytest.mark.parametrize("name", ["gpt2", "modern", "ngrams"])
def test_micro_batches_add_up(library: Library, name: str) -> None:
    model = random_model(settings(name))
    tokens, targets = batch(6, 12)
    loss, gradients = in_float64(model, tokens, targets, 0.5)
    engine = native_engine(model, 2)
    assert engine is not None
    # What an earlier step left behind must not count.
    engine.learn(*batch(4, 12, seed=9), 3.0)
    parts = [
        engine.learn(tokens[rows], targets[rows], 0.5, accumulate=rows.start > 0) for rows in (slice(0, 2), slice(2, 6))
    ]
    assert sum(parts) == pytest.approx(loss, rel=1e-5)
    assert_equal_gradients(engine.gradients, gradients)


@pytest.mark.parametrize("name", ["gpt2", "modern", "ngrams"])
def test_room_grows_with_the_largest_call_of_each_kind(library: Library, name: str) -> None:
    """A little training, then scores of much, then more training than before: nothing may lie outside its memory."""
    model = random_model(settings(name))
    engine = native_engine(model, 1)
    assert engine is not None
    engine.learn(*batch(1, 12), 1.0)
    engine.scores(*batch(40, 12))
    tokens, targets = batch(30, 12)
    loss, gradients = in_float64(model, tokens, targets, 1.0)
    assert engine.learn(tokens, targets, 1.0) == pytest.approx(loss, rel=1e-5)
    assert_equal_gradients(engine.gradients, gradients)


@pytest.mark.bitwise
@pytest.mark.parametrize("name", ["gpt2", "modern_ngrams_dropout"])
def test_equal_calls_give_equal_bits(library: Library, name: str) -> None:
    model = random_model(settings(name))
    tokens, targets = batch(7, 12)
    engine = native_engine(model, 3)
    assert engine is not None
    first = engine.learn(tokens, targets, 1.0, seed=5)
    gradients = {name: gradient.clone() for name, gradient in engine.gradients.items()}
    engine.learn(*batch(2, 12, seed=9), 1.0, seed=6)
    assert engine.learn(tokens, targets, 1.0, seed=5) == first
    assert all(torch.equal(gradient, engine.gradients[name]) for name, gradient in gradients.items())


@pytest.mark.parametrize("name", ["dropout", "modern_grouped_dropout", "modern_ngrams_dropout"])
def test_gradients_under_dropout_are_slopes_of_the_loss(library: Library, name: str) -> None:
    """The masks stay the same at a seed, so the loss is a function of the weights: its slope, by a difference."""
    model = random_model(settings(name), scale=0.2)
    tokens, targets = batch(6, 12)
    engine = native_engine(model, 2)
    assert engine is not None
    engine.learn(tokens, targets, 1.0, seed=3)
    gradients = {name: gradient.double() for name, gradient in engine.gradients.items()}
    generator = torch.Generator().manual_seed(0)
    step = 2e-3
    for key, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator)
        direction /= direction.norm()
        # A direction across the gradient would compare rounding with rounding.
        direction += gradients[key].float() / (gradients[key].norm().float() + 1e-12)
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
            losses.append(engine.learn(tokens, targets, 1.0, seed=3))
            with torch.no_grad():
                parameter.sub_(direction, alpha=sign * step)
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx((gradients[key] * direction).sum().item(), rel=0.02, abs=0.02), key


def test_dropout_masks_depend_on_the_seed_alone(library: Library) -> None:
    model = random_model(settings("dropout"))
    tokens, targets = batch(6, 12)
    losses = []
    for threads in (1, 2, 4):
        engine = native_engine(model, threads)
        assert engine is not None
        losses.append(engine.learn(tokens, targets, 1.0, seed=3))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)
    assert engine is not None
    assert engine.learn(tokens, targets, 1.0, seed=4) != pytest.approx(losses[0], rel=1e-4)


def test_dropout_keeps_the_mean(library: Library) -> None:
    """A model whose loss is nearly linear in what is dropped: the mean over many masks is the loss without any."""
    model = random_model(settings("dropout", layers=1), scale=0.02)
    tokens, targets = batch(8, 12)
    engine = native_engine(model, 2)
    assert engine is not None
    plain = engine.scores(tokens, targets)[0].sum()
    losses = [engine.learn(tokens, targets, 1.0, seed=seed) for seed in range(200)]
    assert np.mean(losses) == pytest.approx(plain, rel=1e-3)
    assert np.std(losses) > 0


@pytest.mark.parametrize("name", list(OPTIONS))
def test_scores_are_pytorchs(library: Library, name: str) -> None:
    model = random_model(settings(name)).eval()
    tokens, targets = batch(5, 12)
    engine = native_engine(model, 2)
    assert engine is not None
    nats, hits = engine.scores(tokens, targets)
    logits = model(torch.from_numpy(tokens))
    counted = torch.from_numpy(targets).clamp(min=0)
    expected = -logits.log_softmax(-1).gather(-1, counted.unsqueeze(-1)).squeeze(-1).detach().numpy()
    np.testing.assert_allclose(nats, np.where(targets >= 0, expected, 0), atol=2e-5)
    assert (hits == (logits.argmax(-1).numpy() == targets)).all()


def test_the_engine_follows_the_model(library: Library) -> None:
    """It reads the tensors themselves; where a model's tensors moved, it's opened anew."""
    model = random_model(settings("modern"))
    tokens, targets = batch(2, 12)
    engine = native_engine(model, 2)
    assert engine is not None
    assert native_engine(model, 2) is engine
    before = engine.learn(tokens, targets, 1.0)
    with torch.no_grad():
        model.head.weight.mul_(2.0)
    assert engine.learn(tokens, targets, 1.0) != before
    model.embedding.weight = torch.nn.Parameter(model.embedding.weight.detach().clone())
    assert native_engine(model, 2) is not engine


def test_what_the_engine_can_not_compute(library: Library) -> None:
    assert native_engine(random_model(settings("gpt2"), dtype=torch.float64)) is None
    engine = native_engine(random_model(settings("gpt2")), 1)
    assert engine is not None
    tokens, targets = batch(2, 12)
    with pytest.raises(LabError, match="expected 0 to 10"):
        engine.learn(tokens + VOCABULARY, targets, 1.0)
    with pytest.raises(LabError, match="context of 12"):
        engine.learn(np.zeros((1, 13), dtype=np.int64), np.zeros((1, 13), dtype=np.int64), 1.0)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("ngrams",)])
def test_what_is_no_number_stays_none(library: Library, name: str) -> None:
    """A diverged model must not look well: a NaN among the weights reaches the loss."""
    model = random_model(settings(name))
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[0, 0] = float("nan")
    engine = native_engine(model, 2)
    assert engine is not None
    assert np.isnan(engine.learn(*batch(2, 12), 1.0))
    assert np.isnan(engine.scores(*batch(2, 12))[0]).any()
