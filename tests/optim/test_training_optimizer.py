"""The optimizer of a run: AdamW's formula, rates, state by name, exact resume, and clipping."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lmlab import LabError
from lmlab.optim.build import build_optimizer
from lmlab.optim.clip import clip_gradients, gradient_norm
from lmlab.recipe import AdamW, Muon


class Model(nn.Module):
    """Two blocks, an embedding and a norm: every kind of parameter that a transformer has."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 12), nn.Linear(12, 4, bias=False)])
        self.norm = nn.LayerNorm(4)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.norm(self.blocks[1](torch.tanh(self.blocks[0](self.embedding(tokens))))) @ self.embedding.weight.T


def take_steps(model, optimizer, first, last):
    for step in range(first, last):
        tokens = torch.randint(0, 9, (3, 5), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten()).backward()
        optimizer.set_rate(1.0 / (step + 1))
        optimizer.step()


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def slow_adamw(weight, gradients, rates, decay, betas, eps):
    """Algorithm 2 of arXiv 1711.05101, in float64, with its schedule multiplier inside the rates."""
    weight = weight.double().clone()
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = gradient.double()
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected, spread = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        weight = weight - rate * corrected / (spread.sqrt() + eps) - rate * decay * weight
    return weight


@pytest.mark.parametrize("decay", ["matrices", "all"])
def test_adamw_equals_its_published_formula(decay):
    model = Model().double()
    optim = AdamW(lr=0.01, weight_decay=0.2, decay=decay, betas=(0.9, 0.99), eps=1e-8)
    optimizer = build_optimizer(model, optim, "cpu")
    gradients = {name: [] for name, _ in model.named_parameters()}
    before = weights(model)
    rates = []
    for step in range(5):
        share = 1.0 / (step + 1)
        for number, (name, parameter) in enumerate(model.named_parameters()):
            generator = torch.Generator().manual_seed(10 * step + number)
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            gradients[name].append(parameter.grad.clone())
        optimizer.set_rate(share)
        optimizer.step()
        rates.append(0.01 * share)
    for name, parameter in model.named_parameters():
        decays = 0.2 if decay == "all" or parameter.ndim >= 2 else 0.0
        expected = slow_adamw(before[name], gradients[name], rates, decays, optim.betas, optim.eps)
        # the step count is float32, so that the bias corrections are exact to about 1e-7
        assert torch.allclose(parameter, expected, rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("optim", [AdamW(), AdamW(decay="all"), Muon()])
@pytest.mark.parametrize("split", [0, 1, 4])
def test_steps_with_a_save_and_a_load_between_equal_steps_without(optim, split):
    whole = Model()
    optimizer = build_optimizer(whole, optim, "cpu")
    take_steps(whole, optimizer, 0, 7)

    start = Model()
    first = build_optimizer(start, optim, "cpu")
    take_steps(start, first, 0, split)
    saved = {name: tensor.clone() for name, tensor in first.state_tensors().items()}
    resumed = Model()
    resumed.load_state_dict(weights(start))
    second = build_optimizer(resumed, optim, "cpu")
    second.load_state_tensors(saved)
    take_steps(resumed, second, split, 7)

    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    for name, tensor in optimizer.state_tensors().items():
        assert torch.equal(tensor, second.state_tensors()[name]), name


def test_state_is_named_after_the_parameters_and_complete_before_the_first_step():
    names = {name for name, _ in Model().named_parameters()}
    adamw = build_optimizer(Model(), AdamW(), "cpu").state_tensors()
    assert set(adamw) == {f"{kind}/{name}" for kind in ("step", "exp_avg", "exp_avg_sq") for name in names}
    matrices = {"blocks.0.weight", "blocks.1.weight"}
    muon = build_optimizer(Model(), Muon(), "cpu").state_tensors()
    rest = {f"{kind}/{name}" for kind in ("step", "exp_avg", "exp_avg_sq") for name in names - matrices}
    assert set(muon) == rest | {f"momentum/{name}" for name in matrices}
    assert all(not tensor.any() and not tensor.requires_grad for tensor in (*adamw.values(), *muon.values()))


def test_foreach_and_fused_share_one_form_of_state(monkeypatch):
    fused = build_optimizer(Model(), AdamW(), "cpu")
    original = torch.optim.AdamW
    kernels = []

    def without_fused(*arguments, fused, **settings):
        kernels.append("fused" if fused else "foreach")
        if fused:
            raise RuntimeError("no fused kernel on this device")
        return original(*arguments, fused=fused, **settings)

    model, other = Model(), Model()
    slow, quick = build_optimizer(model, AdamW(), "cpu"), build_optimizer(other, AdamW(), "cpu")
    monkeypatch.setattr(torch.optim, "AdamW", without_fused)
    take_steps(model, slow, 0, 3)
    assert kernels == ["fused", "foreach"]
    monkeypatch.undo()
    take_steps(other, quick, 0, 3)
    for name, tensor in slow.state_tensors().items():
        assert tensor.dtype == quick.state_tensors()[name].dtype
        assert torch.allclose(tensor, quick.state_tensors()[name], atol=1e-5), name
    fused.load_state_tensors(slow.state_tensors())


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "dtype", "kind"])
def test_a_state_of_another_model_is_refused_and_nothing_changes(change):
    model = Model()
    optimizer = build_optimizer(model, AdamW(), "cpu")
    take_steps(model, optimizer, 0, 2)
    before = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}
    other = {name: torch.ones_like(tensor) for name, tensor in before.items()}
    if change == "missing":
        del other["exp_avg/norm.weight"]
    elif change == "unknown":
        other["exp_avg/nobody"] = torch.zeros(1)
    elif change == "shape":
        other["exp_avg/norm.weight"] = torch.zeros(5)
    elif change == "dtype":
        other["exp_avg/norm.weight"] = torch.zeros(4, dtype=torch.float64)
    else:
        other = build_optimizer(Model(), Muon(), "cpu").state_tensors()
    words = {
        "missing": r"state lacks exp_avg/norm\.weight: expected one of this model and optim\.kind",
        "unknown": r"state has an unknown exp_avg/nobody: expected one of this model and optim\.kind",
        "shape": r"exp_avg/norm\.weight is torch\.float32 \(5,\): expected torch\.float32 \(4,\)",
        "dtype": r"exp_avg/norm\.weight is torch\.float64 \(4,\): expected torch\.float32 \(4,\)",
        "kind": r"state lacks exp_avg/blocks\.0\.weight: expected one of this model and optim\.kind",
    }[change]
    with pytest.raises(LabError, match=words) as caught:
        optimizer.load_state_tensors(other)
    assert "\n" not in str(caught.value)
    for name, tensor in optimizer.state_tensors().items():
        assert torch.equal(tensor, before[name])


def test_rates_are_shares_of_each_peak():
    optimizer = build_optimizer(Model(), Muon(lr=0.02, adam_lr=0.004), "cpu")
    assert optimizer.rates() == {"lr": 0.02, "adam_lr": 0.004}
    optimizer.set_rate(0.5)
    assert optimizer.rates() == {"lr": 0.01, "adam_lr": 0.002}
    assert optimizer.rates(0.1) == pytest.approx({"lr": 0.002, "adam_lr": 0.0004})
    assert optimizer.rates() == {"lr": 0.01, "adam_lr": 0.002}
    optimizer.set_rate(1.0)
    assert optimizer.rates() == {"lr": 0.02, "adam_lr": 0.004}
    assert build_optimizer(Model(), AdamW(lr=0.1), "cpu").rates() == {"lr": 0.1}


def test_a_step_that_is_not_taken_leaves_no_trace():
    model, twin = Model(), Model()
    optimizer, other = build_optimizer(model, AdamW(), "cpu"), build_optimizer(twin, AdamW(), "cpu")
    take_steps(model, optimizer, 0, 2)
    take_steps(twin, other, 0, 2)
    for parameter in twin.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    assert math.isnan(gradient_norm(twin.parameters()).item())
    other.zero_grad()
    assert all(parameter.grad is None for parameter in twin.parameters())
    take_steps(model, optimizer, 2, 4)
    take_steps(twin, other, 2, 4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("taken", [0, 3])
def test_an_update_that_a_flag_skips_leaves_no_trace_and_one_that_it_allows_is_the_usual_one(taken):
    """The flag that torch.amp.GradScaler sets, read by the fused kernel; on a CPU too."""
    model, usual = Model(), Model()
    optimizers = [build_optimizer(each, AdamW(lr=0.01), "cpu") for each in (model, usual)]
    for each, optimizer in zip((model, usual), optimizers, strict=True):
        take_steps(each, optimizer, 0, taken)
    assert optimizers[0].gated
    before = {**weights(model), **{name: tensor.clone() for name, tensor in optimizers[0].state_tensors().items()}}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    optimizers[0].step_unless(torch.tensor(True))
    after = {**weights(model), **optimizers[0].state_tensors()}
    assert all(torch.equal(after[name], before[name]) for name in before)
    for each in (model, usual):
        for parameter in each.parameters():
            parameter.grad = torch.ones_like(parameter)
    optimizers[0].step_unless(torch.tensor(False))
    optimizers[1].step()
    ours, theirs = (
        {**weights(each), **optimizer.state_tensors()}
        for each, optimizer in zip((model, usual), optimizers, strict=True)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(ours[name], before[name]) for name in before)
    take_steps(model, optimizers[0], taken, taken + 1)  # the flag is of one step only


def test_an_optimizer_for_another_device_is_refused():
    with pytest.raises(LabError, match="move the model"):
        build_optimizer(Model(), AdamW(), "cuda")


@pytest.mark.parametrize("limit", [0.0, 0.5, 1e6])
def test_clipping_scales_the_whole_gradient_to_the_limit(limit):
    model = Model()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    model.norm.bias.grad = None
    before = {name: entry.grad.clone() for name, entry in model.named_parameters() if entry.grad is not None}
    expected = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in before.values()))
    norm = gradient_norm(model.parameters())
    clip_gradients(model.parameters(), limit, norm)
    assert norm.shape == () and norm.item() == pytest.approx(expected, rel=1e-5)
    factor = min(1.0, limit / (expected + 1e-6)) if limit else 1.0
    for name, entry in model.named_parameters():
        if entry.grad is not None:
            assert torch.allclose(entry.grad, before[name] * factor, rtol=1e-5)
            assert factor < 1.0 or torch.equal(entry.grad, before[name])


def test_a_model_without_gradients_has_norm_zero():
    assert gradient_norm(Model().parameters()).item() == 0.0
