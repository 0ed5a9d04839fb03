"""The decoder: causal, trainable in every part, mixed as the recipe says."""

import pytest
import torch

from lmlab import LabError
from lmlab.model.activation import soft_cap
from lmlab.model.build import build_model
from lmlab.model.gpt import Head
from lmlab.model.initial import initialise
from lmlab.recipe.model import GPT
from tests.model.grid import OPTIONS, VOCABULARY, random_model, random_tokens, settings


@pytest.mark.parametrize("option", OPTIONS)
def test_logits_depend_on_the_tokens_at_and_before_them_only(option: str) -> None:
    model = random_model(settings(option)).eval()
    tokens = random_tokens(2, 12)
    before = model(tokens)
    for place in range(12):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCABULARY
        after = model(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.allclose(after[:, place], before[:, place])


@pytest.mark.parametrize("option", OPTIONS)
def test_gradients_reach_every_parameter(option: str) -> None:
    model = random_model(settings(option))
    model.loss_sum(random_tokens(4, 12), random_tokens(4, 12, seed=1)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("option", OPTIONS)
def test_state_dict_holds_each_parameter_once_under_its_name(option: str) -> None:
    model = random_model(settings(option))
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]
    storages = [tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()]
    assert len(set(storages)) == len(storages)


@pytest.mark.parametrize("option", ["gpt2", "modern", "swiglu", "ngrams"])
def test_gradients_agree_with_finite_differences(option: str) -> None:
    model = random_model(settings(option, width=8, heads=2, context=4, layers=2), dtype=torch.float64)
    tokens, targets = random_tokens(2, 4), random_tokens(2, 4, seed=1)
    model.loss_sum(tokens, targets).backward()
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        losses = []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                parameter += step * direction
                losses.append(model.loss_sum(tokens, targets))
            parameter += 1e-5 * direction
        slope = (losses[0] - losses[1]) / 2e-5
        torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-5, atol=1e-7, msg=name)


def test_tied_head_multiplies_by_the_embedding() -> None:
    model = random_model(settings("gpt2")).eval()
    untied = random_model(settings("untied")).eval()
    untied.load_state_dict({**model.state_dict(), "head.weight": model.state_dict()["embedding.weight"]})
    tokens = random_tokens(2, 12)
    assert torch.equal(model(tokens), untied(tokens))
    with torch.no_grad():
        model.embedding.weight += 1.0
    assert not torch.allclose(model(tokens), untied(tokens))


def test_head_bias_is_added_to_the_logits() -> None:
    head = Head(settings("tied_head_bias"), VOCABULARY)
    with torch.no_grad():
        head.bias.copy_(torch.arange(VOCABULARY))
    logits = head(torch.zeros(1, 1, 16), torch.zeros(VOCABULARY, 16))
    assert logits.flatten().tolist() == list(range(VOCABULARY))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_soft_cap_is_computed_in_float32_at_least_and_its_gradient_has_the_logits_dtype(dtype) -> None:
    logits = (torch.linspace(-40, 40, 201)).to(dtype).requires_grad_()
    capped = soft_cap(logits, 15.0)
    expected = 15.0 * torch.tanh(logits.double() / 15.0)
    assert capped.dtype == torch.promote_types(dtype, torch.float32)
    assert torch.allclose(capped.double(), expected, rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(capped.sum(), logits)
    slope = (1.0 - torch.tanh(logits.detach().double() / 15.0) ** 2).to(dtype)
    assert gradient.dtype == dtype and torch.allclose(gradient, slope, rtol=2e-2, atol=1e-3)


def test_softcap_bends_the_logits_of_the_same_model_and_bounds_them() -> None:
    plain = random_model(settings("gpt2"), scale=2.0).eval()
    capped = random_model(settings("softcap"), scale=2.0).eval()
    tokens = random_tokens(2, 12)
    assert plain(tokens).abs().max() > 2
    torch.testing.assert_close(capped(tokens), 2 * torch.tanh(plain(tokens) / 2))


def test_value_share_mixes_in_the_first_layers_values() -> None:
    plain = random_model(settings("gpt2")).eval()
    mixed = random_model(settings("value_residual")).eval()
    names = [name for name, _ in mixed.named_parameters() if name.endswith("first_share")]
    assert names == ["blocks.1.attention.first_share", "blocks.2.attention.first_share"]
    mixed.load_state_dict({**plain.state_dict(), **{name: torch.zeros(1) for name in names}})
    tokens = random_tokens(2, 12)
    torch.testing.assert_close(mixed(tokens), plain(tokens))
    mixed.load_state_dict({**plain.state_dict(), **{name: torch.ones(1) for name in names}})
    # With a share of 1 a layer's own value rows no longer matter, except the first layer's.
    before = mixed(tokens)
    with torch.no_grad():
        mixed.blocks[1].attention.qkv.weight[-16:] += 1.0
    torch.testing.assert_close(mixed(tokens), before)
    with torch.no_grad():
        mixed.blocks[0].attention.qkv.weight[-16:] += 1.0
    assert not torch.allclose(mixed(tokens), before)


def test_stream_shares_mix_in_the_embedding_after_the_first_block() -> None:
    plain = random_model(settings("gpt2")).eval()
    mixed = random_model(settings("embedding_skip")).eval()
    names = [name for name, _ in mixed.named_parameters() if name.endswith("stream_shares")]
    assert names == ["blocks.1.stream_shares", "blocks.2.stream_shares"]
    mixed.load_state_dict({**plain.state_dict(), **{name: torch.tensor([1.0, 0.0]) for name in names}})
    tokens = random_tokens(2, 12)
    torch.testing.assert_close(mixed(tokens), plain(tokens))
    # With shares (0, 1) in the last block, it sees the embedding only: the blocks before don't matter.
    mixed.load_state_dict({**mixed.state_dict(), "blocks.2.stream_shares": torch.tensor([0.0, 1.0])})
    before = mixed(tokens)
    with torch.no_grad():
        mixed.blocks[1].mlp.down.weight += 1.0
    torch.testing.assert_close(mixed(tokens), before)


def test_a_window_longer_than_the_context_is_refused() -> None:
    with pytest.raises(LabError, match="13 tokens are more than the model's context of 12"):
        random_model(settings("gpt2"))(random_tokens(1, 13))


@pytest.mark.parametrize(
    "problem, expected",
    [
        ({"heads": 3}, "must divide"),
        ({"kv_heads": 3}, "must divide"),
        ({"positions": "rotary", "width": 12, "heads": 4}, "even head width"),
        ({"ngrams": (2, 2)}, "names 2 more than once"),
        ({"ngrams": (2, 3, 4, 5, 6)}, "has 5 lengths: expected at most 4"),
    ],
)
def test_impossible_shapes_are_refused(problem: dict, expected: str) -> None:
    with pytest.raises(LabError, match=expected):
        build_model(settings("gpt2", **problem), VOCABULARY)
    with pytest.raises(LabError, match="at least 1 token"):
        build_model(settings("gpt2"), 0)


def test_dropout_acts_while_training_only_and_follows_the_global_generator() -> None:
    model = random_model(settings("modern_grouped_dropout"))
    tokens = random_tokens(2, 12)
    model.train()
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(model(tokens))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


def test_building_and_initialising_leave_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    initialise(build_model(GPT(layers=1, width=8, heads=2, context=4), VOCABULARY), 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_forward_in_bfloat16_and_under_autocast_is_near_float32() -> None:
    model = random_model(settings("modern"), scale=0.2).eval()
    tokens = random_tokens(2, 12)
    exact = model(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert (model(tokens).float() - exact).abs().max() < 0.1
    low = model.to(torch.bfloat16)(tokens)
    assert low.dtype == torch.float32, "the soft cap's"
    assert model.norm(model.embedding(tokens)).dtype == torch.bfloat16
    assert (low.float() - exact).abs().max() < 0.1
