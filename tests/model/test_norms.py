"""Norms and nonlinearities against their formulas; hand-written gradients against autograd's."""

import pytest
import torch
from torch.nn import functional as F

from lmlab.model.activation import activate, soft_cap
from lmlab.model.norms import EPSILON, build_norm, rms_norm


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_rms_norm_divides_by_the_root_mean_square() -> None:
    x = random(3, 4, 5)
    expected = x / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt()
    torch.testing.assert_close(rms_norm(x), expected)
    assert torch.equal(rms_norm(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_epsilon_is_added_to_the_variance_and_to_the_mean_square() -> None:
    x, epsilon = random(3, 4, 5), 0.3
    centred = x - x.mean(-1, keepdim=True)
    expected = {"rmsnorm": x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()}
    expected["layernorm"] = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
    for kind in ("layernorm", "rmsnorm"):
        torch.testing.assert_close(build_norm(kind, 5, True, epsilon).double()(x), expected[kind])


def test_rms_norm_has_the_gradient_of_its_formula() -> None:
    assert torch.autograd.gradcheck(rms_norm, (random(3, 4, 5), 0.1))


@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_rms_norm_equals_pytorchs_in_value_and_gradient(dtype: torch.dtype, near: float) -> None:
    norm = build_norm("rmsnorm", 16, True)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    weight = torch.linspace(0.5, 2, 16)
    norm.load_state_dict({"weight": weight})
    norm = norm.to(dtype)
    x, upstream = random(6, 16, dtype=torch.float32).detach().to(dtype).requires_grad_(), torch.randn(6, 16).to(dtype)
    theirs = F.rms_norm(x, (16,), weight.to(dtype), EPSILON)
    torch.testing.assert_close(norm(x), theirs, rtol=near, atol=near)
    ours = torch.autograd.grad(norm(x), [x, norm.weight], upstream)
    (expected,) = torch.autograd.grad(theirs, [x], upstream)
    torch.testing.assert_close(ours[0], expected, rtol=near, atol=near)


def test_layer_norm_has_a_bias_only_where_asked() -> None:
    assert [name for name, _ in build_norm("layernorm", 4, True).named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in build_norm("layernorm", 4, False).named_parameters()] == ["weight"]
    x = random(3, 4, dtype=torch.float32)
    normal = build_norm("layernorm", 4, True)(x)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(3), atol=1e-6, rtol=0)


def test_nonlinearities_are_their_formulas() -> None:
    x = random(50)
    positive = x * (x > 0)
    normal = torch.distributions.Normal(0.0, 1.0)
    bent = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    gate, value = x[:25], x[25:]
    torch.testing.assert_close(activate("relu", x), positive)
    torch.testing.assert_close(activate("relu2", x), positive**2)
    torch.testing.assert_close(activate("gelu", x), x * normal.cdf(x))
    torch.testing.assert_close(activate("gelu_tanh", x), bent)
    torch.testing.assert_close(activate("swiglu", x), gate / (1 + torch.exp(-gate)) * value)


def test_hand_written_gradients_are_those_of_the_formulas() -> None:
    x = random(40)
    assert torch.autograd.gradcheck(lambda x: activate("relu2", x), (x,))
    assert torch.autograd.gradcheck(lambda x: soft_cap(x, 1.5), (x,))
    torch.testing.assert_close(soft_cap(x, 1.5), 1.5 * torch.tanh(x / 1.5))
