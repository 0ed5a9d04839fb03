"""Muon: orthogonalisation against the singular value decomposition, and the update against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lmlab.optim.muon import Muon, _iterate, _iterate_on_products, orthogonalise


def matrices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 32), (2, 32, 8), (1, 1, 5)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape):
    given = matrices(*shape)
    result = orthogonalise(given)
    assert result.shape == given.shape and result.dtype == given.dtype
    values = torch.linalg.svdvals(result)
    kept = torch.linalg.svdvals(given) / torch.linalg.matrix_norm(given).unsqueeze(-1) > 0.02
    assert values[kept].min() > 0.6 and values.max() < 1.25
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    exact = left @ right
    likeness = (result * exact).sum((-2, -1)) / (result.norm(dim=(-2, -1)) * exact.norm(dim=(-2, -1)))
    assert likeness.min() > 0.95


@pytest.mark.parametrize("products", [torch.bfloat16, torch.float16])
def test_products_of_half_precision_turn_a_matrix_as_those_of_float32_do(products):
    given = matrices(2, 96, 384)
    half, whole = orthogonalise(given, products=products), orthogonalise(given)
    assert half.dtype == torch.float32
    assert not torch.equal(half, whole)
    values = torch.linalg.svdvals(half)
    assert values.min() > 0.6 and values.max() < 1.25
    likeness = (half * whole).sum((-2, -1)) / (half.norm(dim=(-2, -1)) * whole.norm(dim=(-2, -1)))
    assert likeness.min() > 0.999


def test_matrices_in_a_batch_do_not_touch_each_other():
    given = matrices(4, 6, 10)
    one_by_one = torch.cat([orthogonalise(entry.unsqueeze(0)) for entry in given])
    assert torch.allclose(orthogonalise(given), one_by_one, atol=1e-5)


@pytest.mark.parametrize("decades", [2, 8])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_iterating_on_the_products_equals_iterating_on_the_matrices(decades, iterations):
    left, right = (torch.linalg.qr(matrices(3, size, 16, seed=size).double())[0] for size in (16, 40))
    given = left @ torch.diag(torch.logspace(0, -decades, 16, dtype=torch.float64)) @ right.mT
    given = given / given.norm(dim=(-2, -1), keepdim=True)
    expected = _iterate(given, iterations)
    assert torch.allclose(_iterate_on_products(given, iterations), expected, atol=1e-9)
    assert torch.allclose(_iterate_on_products(given.float(), iterations).double(), expected, atol=1e-3)


def test_the_scale_of_a_gradient_is_lost_and_its_turning_is_kept():
    given = matrices(1, 5, 7)
    assert torch.allclose(orthogonalise(given * 1e3), orthogonalise(given), atol=1e-4)
    assert torch.allclose(orthogonalise(given.mT), orthogonalise(given).mT, atol=1e-5)
    assert torch.equal(orthogonalise(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def slow_update(weight, gradients, lr, momentum, decay, borders):
    """The formula of the post, one matrix at a time in float64; `borders` divide the rows into matrices."""
    weight, state = weight.double().clone(), torch.zeros_like(weight, dtype=torch.float64)
    for gradient in gradients:
        gradient = gradient.double()
        state = momentum * state + (1 - momentum) * gradient
        direction = momentum * state + (1 - momentum) * gradient
        weight *= 1 - lr * decay
        for first, last in zip((0, *borders), (*borders, len(weight)), strict=True):
            x = direction[first:last]
            scale = max(1.0, x.shape[0] / x.shape[1]) ** 0.5
            x = x / x.norm()
            for _ in range(5):
                square = x @ x.T
                x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
            weight[first:last] -= lr * scale * x
    return weight


def test_updates_equal_the_formula_for_all_shapes_at_once():
    shapes = [(12, 4), (4, 4), (16, 4), (4, 16)]
    borders = [(4, 8), (), (), ()]
    parameters = [nn.Parameter(matrices(*shape, seed=number)) for number, shape in enumerate(shapes)]
    gradients = [
        [matrices(*shape, seed=100 * step + number) for step in range(1, 4)] for number, shape in enumerate(shapes)
    ]
    expected = [
        slow_update(parameter.data, gradients[number], 0.02, 0.95, 0.1, borders[number])
        for number, parameter in enumerate(parameters)
    ]
    rows = [(4, 4, 4), (4,), (16,), (4,)]
    optimizer = Muon([{"params": parameters, "rows": rows, "lr": 0.02, "weight_decay": 0.1}], 0.95, 5)
    for step in range(3):
        for number, parameter in enumerate(parameters):
            parameter.grad = gradients[number][step].clone()
        optimizer.step()
    for parameter, wanted, mine in zip(parameters, expected, gradients, strict=True):
        assert torch.allclose(parameter.double(), wanted, atol=1e-4)
        assert torch.equal(parameter.grad, mine[-1])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon of its own")
def test_updates_agree_with_pytorchs_own_muon_to_its_bf16():
    ours, theirs = (nn.Parameter(matrices(24, 8)) for _ in range(2))
    optimizer = Muon([{"params": [ours], "lr": 0.1, "weight_decay": 0.1}], 0.95, 5)
    other = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, momentum=0.95, nesterov=True)
    for step in range(4):
        for parameter in (ours, theirs):
            parameter.grad = matrices(24, 8, seed=step + 1)
        optimizer.step()
        other.step()
    moved = (theirs - matrices(24, 8)).norm()
    assert (ours - theirs).norm() < 0.03 * moved


def test_a_parameter_without_a_gradient_is_left_alone():
    used, unused = nn.Parameter(matrices(3, 3)), nn.Parameter(matrices(3, 3))
    before = unused.detach().clone()
    optimizer = Muon([{"params": [used, unused], "lr": 0.1, "weight_decay": 0.5}], 0.9, 5)
    used.grad = matrices(3, 3, seed=1)
    optimizer.step()
    assert torch.equal(unused, before) and not torch.equal(used, before)
    used.grad = None
    optimizer.step()
    assert torch.equal(unused, before)
