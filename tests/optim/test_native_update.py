"""The CPU engine's update against PyTorch's optimizers, in float32 and in float64."""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import math

import pytest
import torch

from lmlab.model.build import build_model
from lmlab.model.gpt import GPTModel
from lmlab.model.initial import initialise
from lmlab.model.native import native_engine
from lmlab.model.ngrams import ngram_rows
from lmlab.native.engine import Engine
from lmlab.native.update import MuonEntry, Update
from lmlab.optim.build import build_optimizer
from lmlab.optim.clip import clip_gradients, gradient_norm
from lmlab.optim.muon import orthogonalise
from lmlab.optim.native import NativeUpdate
from lmlab.recipe import GPT, PRESETS, AdamW, Muon
from lmlab.recipe.optim import Optim
from tests.engine import engine_library

VOCABULARY, CONTEXT = 11, 8
MODELS = {
    "gpt2": GPT(layers=2, heads=2, width=32, context=CONTEXT, **PRESETS["gpt2"]),
    "modern": GPT(layers=2, heads=4, kv_heads=2, width=32, context=CONTEXT, **PRESETS["modern"]),
    "odd": GPT(layers=1, heads=2, width=60, hidden=70, context=CONTEXT, **PRESETS["gpt2"]),
    "swiglu": GPT(
        layers=3, heads=2, kv_heads=1, width=36, context=CONTEXT, **{**PRESETS["modern"], "activation": "swiglu"}
    ),
    "ngrams": GPT(layers=1, heads=2, width=20, context=CONTEXT, ngrams=(2, 3), ngram_rows=300, **PRESETS["modern"]),
}
OPTIMS = {
    "adamw": AdamW(lr=1e-2, weight_decay=0.2, table_lr=0.03),
    "adamw all": AdamW(lr=1e-2, weight_decay=0.2, decay="all", eps=1e-3),
    "adamw transferred": AdamW(lr=1e-2, weight_decay=0.2, eps=1e-3, transfer_from=(8, 1)),
    "muon": Muon(weight_decay=0.1),
    "muon transferred": Muon(weight_decay=0.1, transfer_from=(12, 6)),
    "muon long": Muon(iterations=7, momentum=0.4),
}
SIDES = (1, 2, 5, 16, 17, 31, 32, 33, 48, 60, 65, 100)


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return engine_library().functions


def engine_of(model: GPTModel, threads: int) -> Engine:
    engine = native_engine(model, threads)
    assert engine is not None
    return engine


class Native:
    """A model whose updates the engine makes."""

    def __init__(self, library: ctypes.CDLL, config: GPT, optim: Optim, threads: int = 2) -> None:
        self.model = start(config)
        self.optimizer = build_optimizer(self.model, optim, "cpu")
        self.engine = engine_of(self.model, threads)
        self.update = NativeUpdate(self.optimizer, self.engine)

    def take(self, step: int, clip: float, share: float) -> float:
        norm = self.measure(step)
        self.update.take(clip, share)
        return norm

    def measure(self, step: int) -> float:
        """The norm of that step's gradient, which the engine is given."""
        if self.model.config.ngrams:
            tokens = tokens_of(step).numpy()
            self.engine.learn(tokens, tokens, 1.0)  # tells it which rows of the tables were looked up
        for name, gradient in gradients_of(self.model, step).items():
            self.engine.gradients[name].copy_(gradient)
        return self.update.norm()

    def everything(self) -> dict[str, torch.Tensor]:
        tensors = {**dict(self.model.named_parameters()), **self.optimizer.state_tensors()}
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def start(config: GPT) -> GPTModel:
    model = build_model(config, VOCABULARY)
    initialise(model, 3)
    return model


def tokens_of(step: int) -> torch.Tensor:
    return torch.randint(VOCABULARY, (3, CONTEXT), generator=torch.Generator().manual_seed(step))


def gradients_of(model: GPTModel, step: int) -> dict[str, torch.Tensor]:
    """Numbers of many sizes; in an n-gram table only where it was looked up, and not in the first of those rows."""
    generator = torch.Generator().manual_seed(1000 + step)
    gradients = {}
    for name, parameter in model.named_parameters():
        size = 10.0 ** torch.randint(-6, 1, (), generator=generator)
        gradients[name] = torch.randn(parameter.shape, generator=generator) * size
    config = model.config
    rows = ngram_rows(tokens_of(step), config.ngrams, config.ngram_rows, VOCABULARY)
    for index, chosen in enumerate(rows):
        learning = torch.zeros(config.ngram_rows, 1)
        learning[chosen.flatten()] = 1.0
        learning[chosen.min()] = 0.0
        gradients[f"ngram_tables.{index}.weight"] *= learning
    return gradients


def torch_steps(config: GPT, optim: Optim, clips: list[float], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Parameters and state after a step for each of `clips`, by PyTorch."""
    model = start(config).to(dtype)
    optimizer = build_optimizer(model, optim, "cpu")
    for step, clip in enumerate(clips):
        for name, gradient in gradients_of(model, step).items():
            model.get_parameter(name).grad = gradient.to(dtype)
        clip_gradients(model.parameters(), clip, gradient_norm(model.parameters()))
        optimizer.set_rate(share_of(step))
        optimizer.step()
    return {**dict(model.named_parameters()), **optimizer.state_tensors()}


def share_of(step: int) -> float:
    return 1.0 - 0.2 * step


@pytest.mark.bitwise
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("optim", ["adamw", "muon"])
@pytest.mark.parametrize("config", MODELS)
def test_gradients_after_an_update_are_those_of_an_engine_that_was_opened_then(library, config, optim, threads):
    """The update packs the weights for the next pass: they must be those that it left, and those that anybody else sets."""
    native = Native(library, MODELS[config], OPTIMS[optim], threads)
    tokens = tokens_of(0).numpy()

    def as_by_another() -> None:
        model = copy.deepcopy(native.model)
        other = engine_of(model, threads)
        assert native.engine.scores(tokens, tokens)[0].tolist() == other.scores(tokens, tokens)[0].tolist()
        assert native.engine.learn(tokens, tokens, 1.0) == other.learn(tokens, tokens, 1.0)
        assert all(torch.equal(gradient, other.gradients[name]) for name, gradient in native.engine.gradients.items())

    for _ in range(3):
        native.engine.learn(tokens, tokens, 1.0)
        native.update.norm()
        native.update.take(1.0, 1.0)
        as_by_another()
    with torch.no_grad():
        for parameter in native.model.parameters():
            parameter.mul_(1.5)
    as_by_another()


@pytest.mark.parametrize("tables", [(2,), (2, 3), (2, 3, 4)])
def test_norm_and_update_of_accumulated_gradients_count_each_row_of_a_table_once(library, tables):
    config = dataclasses.replace(MODELS["ngrams"], ngrams=tables)
    whole, parts = (Native(library, config, OPTIMS["adamw"]) for _ in range(2))
    for step in range(3):
        tokens = tokens_of(step).numpy()
        whole.engine.learn(tokens, tokens, 1.0)
        for first in range(3):
            row = tokens[first : first + 1]
            parts.engine.learn(row, row, 1.0, accumulate=first > 0)
        squares = sum(gradient.double().square().sum().item() for gradient in parts.engine.gradients.values())
        assert parts.update.norm() == pytest.approx(squares**0.5, rel=1e-6)
        assert parts.update.norm() == pytest.approx(whole.update.norm(), rel=1e-5)
        for native in (whole, parts):
            native.update.take(1.0, 1.0)
    for name, number in parts.everything().items():
        torch.testing.assert_close(number, whole.everything()[name], rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optim", OPTIMS)
@pytest.mark.parametrize("config", MODELS)
def test_steps_equal_pytorchs(library, config, optim, dtype):
    native = Native(library, MODELS[config], OPTIMS[optim])
    before = native.everything()
    clips = [0.0, 1.0, 1e6, 1e-3]
    for step, clip in enumerate(clips):
        native.take(step, clip, share_of(step))
    after = native.everything()
    expected = torch_steps(MODELS[config], OPTIMS[optim], clips, dtype)
    assert after.keys() == expected.keys()
    for name, found in after.items():
        wanted = expected[name].detach().double()
        moved = (wanted - before[name].double()).norm()
        # Orthogonalising amplifies small singular values, and their rounding with them.
        share = 1e-4 if "muon" in optim and name.startswith("blocks.") else 1e-5
        error = (found.double() - wanted).norm()
        assert error <= share * moved + 2e-7 * wanted.norm(), name


def test_moments_that_shrink_to_nothing_never_become_subnormal(library):
    """A unit that has died has a gradient of zero: its moments would become subnormal, and arithmetic with those is slow."""
    native = Native(library, MODELS["gpt2"], AdamW(lr=1e-2, betas=(0.5, 0.5)))
    state = native.optimizer.state_tensors()
    native.take(0, 0.0, 1.0)
    means = {name: tensor for name, tensor in state.items() if "exp_avg" in name}
    assert means and all(tensor.abs().max() > 0 for tensor in means.values())
    for gradient in native.engine.gradients.values():
        gradient.zero_()
    for _ in range(300):
        native.update.norm()
        native.update.take(0.0, 1.0)
    for name, tensor in means.items():
        size = tensor.abs()
        assert ((size == 0) | (size >= torch.finfo(torch.float32).tiny)).all() and size.max() < 1e-37, name


def orthogonalised(library: ctypes.CDLL, matrix: torch.Tensor, iterations: int) -> torch.Tensor:
    """What the engine subtracts from zeros at rate 1, without momentum: the update, scaled by the matrix's shape."""
    engine = engine_of(start(MODELS["odd"]), 1)
    numbers, momentum = torch.zeros_like(matrix), torch.zeros_like(matrix)
    entry = MuonEntry(
        numbers=numbers.data_ptr(),
        gradient=matrix.data_ptr(),
        momentum=momentum.data_ptr(),
        rows=matrix.shape[0],
        columns=matrix.shape[1],
        iterations=iterations,
        lr=1.0,
        decay=0.5,
        share=0.0,
    )
    update = Update(library, engine.handle, engine.lock, [], [entry])
    norm = update.norm()
    update.take(0.0, 1.0)
    assert norm == pytest.approx(matrix.double().norm().item(), rel=1e-6)
    assert torch.equal(momentum, matrix)
    return -numbers / max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5


@pytest.mark.parametrize("rows", SIDES)
def test_matrices_of_every_shape_are_orthogonalised(library, rows):
    for columns in SIDES:
        matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(columns))
        exact = orthogonalise(matrix.double().unsqueeze(0)).squeeze(0)
        assert (orthogonalised(library, matrix, 5).double() - exact).norm() <= 1e-5 * exact.norm(), columns


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("shape", [(40, 40), (40, 60), (60, 40), (40, 80), (160, 40)])
def test_small_singular_values_are_amplified_without_much_noise(library, shape, iterations):
    left, _, right = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False
    )
    matrix = left @ torch.diag(torch.logspace(0, -6, 40)) @ right
    exact = orthogonalise(matrix.double().unsqueeze(0), iterations).squeeze(0)
    assert (orthogonalised(library, matrix, iterations).double() - exact).norm() <= 2e-4 * exact.norm()


@pytest.mark.parametrize("shape", [(40, 60), (40, 160)])
def test_a_zero_matrix_stays_zero_and_many_iterations_stay_bounded(library, shape):
    assert torch.equal(orthogonalised(library, torch.zeros(shape), 5), torch.zeros(shape))
    lowly = torch.randn(shape[0], 3) @ torch.randn(3, shape[1])
    assert torch.linalg.matrix_norm(orthogonalised(library, lowly, 25), 2) < 1.3


@pytest.mark.parametrize("config", ["gpt2", "ngrams"])
def test_the_norm_is_that_of_all_gradients_and_measuring_it_changes_nothing(library, config):
    native = Native(library, MODELS[config], OPTIMS["muon"])
    before, rates = native.everything(), native.optimizer.rates()
    norm = native.measure(1)
    gradients = torch.cat([gradient.flatten().double() for gradient in gradients_of(native.model, 1).values()])
    assert norm == pytest.approx(gradients.norm().item(), rel=1e-6)
    assert_same(native.everything(), before)
    assert native.optimizer.rates() == rates


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_a_gradient_that_is_not_finite_has_no_finite_norm(library, bad):
    native = Native(library, MODELS["gpt2"], OPTIMS["muon"])
    native.take(0, 1.0, 0.5)
    native.engine.gradients["blocks.1.mlp.up.bias"][-1] = bad
    assert not math.isfinite(native.update.norm())


@pytest.mark.bitwise
@pytest.mark.parametrize("config", ["gpt2", "ngrams"])
def test_any_number_of_threads_gives_equal_bits(library, config):
    results = []
    for threads in (1, 2, 3, 3):
        native = Native(library, MODELS[config], OPTIMS["muon"], threads)
        norms = [native.take(step, 1.0, share_of(step)) for step in range(3)]
        results.append((norms, native.everything()))
    for norms, everything in results[1:]:
        assert norms == results[0][0]
        assert_same(everything, results[0][1])


@pytest.mark.bitwise
@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_a_state_that_is_saved_and_loaded_goes_on_with_equal_bits(library, optim):
    untouched = Native(library, MODELS["ngrams"], OPTIMS[optim])
    first = Native(library, MODELS["ngrams"], OPTIMS[optim])
    for step in range(4):
        untouched.take(step, 1.0, share_of(step))
    for step in range(2):
        first.take(step, 1.0, share_of(step))
    second = Native(library, MODELS["ngrams"], OPTIMS[optim])
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_tensors(
        {name: saved.clone() for name, saved in first.optimizer.state_tensors().items()}
    )
    for step in range(2, 4):
        second.take(step, 1.0, share_of(step))
    assert_same(second.everything(), untouched.everything())


def test_the_rates_are_those_of_the_step(library):
    native = Native(library, MODELS["ngrams"], Muon(lr=0.02, adam_lr=0.004, table_lr=0.1))
    native.take(0, 0.0, 0.25)
    assert native.optimizer.rates() == pytest.approx({"lr": 0.005, "adam_lr": 0.001, "table_lr": 0.025})


def test_a_tensor_that_was_replaced_is_noticed(library):
    native = Native(library, MODELS["gpt2"], OPTIMS["adamw"])
    weight = native.model.embedding.weight
    weight.data = weight.data.clone()
    with pytest.raises(AssertionError, match="replaced"):
        native.take(0, 1.0, 1.0)


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.equal(found[name], expected[name]), name
