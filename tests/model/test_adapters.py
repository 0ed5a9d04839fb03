"""Low-rank adapters against a slow model whose matrices are W0 + s B A, differentiated by autograd."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmlab import LabError
from lmlab.model.adapter_cost import adapted_layers, adapter_parameters, frozen_copies, training_flops_per_token
from lmlab.model.adapters import attach_adapters
from lmlab.model.cost import activation_bytes, flops_per_token
from lmlab.model.gpt import GPTModel
from lmlab.model.gpt_shapes import qkv_width
from lmlab.model.head_loss import chunked_loss_sum
from lmlab.recipe import Recipe
from lmlab.recipe.model import GPT, Context, Model
from lmlab.recipe.train import Train
from tests.model.grid import OPTIONS, VOCABULARY, random_model, random_tokens, settings
from tests.model.test_memory import saved_bytes

RANK, ALPHA = 3, 6.0


def recipe_of(model: Model, **train: object) -> Recipe:
    return Recipe(model=model, train=Train(**{"lora_rank": RANK, "lora_alpha": ALPHA, **train}))  # type: ignore[arg-type]


def random_factors(model: GPTModel, recipe: Recipe) -> dict[str, torch.nn.Parameter]:
    """Attach adapters, and make B random too."""
    adapters = attach_adapters(model, recipe)
    assert adapters is not None
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for factor in adapters.parameters().values():
            factor.copy_(0.3 * torch.randn(factor.shape, generator=generator))
    adapters.merge()
    return adapters.parameters()


@pytest.mark.parametrize("layers", ["all", "attention", "mlp"])
@pytest.mark.parametrize("option", [name for name in OPTIONS if "dropout" not in name])
def test_loss_and_gradients_are_those_of_the_explicit_sum_of_matrices(option: str, layers: str) -> None:
    model = random_model(settings(option), dtype=torch.float64)
    slow = random_model(settings(option), dtype=torch.float64)
    factors = random_factors(model, recipe_of(model.config, lora_layers=layers))
    copies = {name: factor.detach().clone().requires_grad_() for name, factor in factors.items()}
    base = dict(slow.named_parameters())
    changed = {
        f"{name}.weight": base[f"{name}.weight"].detach()
        + ALPHA / RANK * copies[f"{name}.lora_b"] @ copies[f"{name}.lora_a"]
        for name in {name.rpartition(".")[0] for name in copies}
    }
    tokens, targets = random_tokens(2, 12), random_tokens(2, 12, seed=1)
    logits = torch.func.functional_call(slow, changed, (tokens,))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    loss = model.loss_sum(tokens, targets)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for name, factor in factors.items():
        torch.testing.assert_close(factor.grad, copies[name].grad, msg=name)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_a_model_with_new_adapters_is_its_parent_bit_for_bit() -> None:
    model = random_model(settings("modern"))
    tokens, targets = random_tokens(2, 12), random_tokens(2, 12, seed=1)
    before, weights = (
        model.loss_sum(tokens, targets),
        {name: entry.clone() for name, entry in model.state_dict().items()},
    )
    adapters = attach_adapters(model, recipe_of(model.config))
    assert adapters is not None
    assert torch.equal(model.loss_sum(tokens, targets), before)
    adapters.merge()
    assert model.state_dict().keys() == weights.keys(), "no tensor of the model's own is added"
    assert all(torch.equal(entry, weights[name]) for name, entry in model.state_dict().items())


def test_factors_depend_on_seed_and_name_alone() -> None:
    random = torch.get_rng_state()
    found = {}
    for key, changes in {"": {}, "again": {"lora_layers": "mlp"}, "seed": {"seed": 2}}.items():
        adapters = attach_adapters(
            random_model(settings("gpt2"), seed=len(found)), recipe_of(settings("gpt2"), **changes)
        )
        assert adapters is not None
        found[key] = adapters.parameters()
    name = "blocks.1.mlp.down"
    assert torch.equal(found[""][f"{name}.lora_a"], found["again"][f"{name}.lora_a"])
    assert not torch.equal(found[""][f"{name}.lora_a"], found["seed"][f"{name}.lora_a"])
    assert found[""][f"{name}.lora_a"].abs().max() <= 64**-0.5, "uniform within 1 / sqrt(inputs)"
    assert not any(factor.any() for key, factor in found[""].items() if key.endswith("lora_b"))
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("option", ["gpt2", "swiglu", "grouped", "hidden"])
@pytest.mark.parametrize("layers", ["all", "attention", "mlp"])
def test_counts_are_those_of_the_tensors(option: str, layers: str) -> None:
    model = random_model(settings(option))
    recipe = recipe_of(model.config, lora_layers=layers)
    adapters = attach_adapters(model, recipe)
    assert adapters is not None
    assert adapter_parameters(recipe) == sum(factor.numel() for factor in adapters.parameters().values())
    copies = [entry for name, entry in adapters.state_tensors().items() if name.startswith("base/")]
    assert frozen_copies(recipe) == sum(entry.numel() for entry in copies)


def test_gpt2_small_has_its_count_by_hand() -> None:
    recipe = recipe_of(GPT(layers=12, heads=12, width=768, context=1024), lora_rank=8)
    assert adapter_parameters(recipe) == 12 * 8 * ((768 + 2304) + (768 + 768) + 2 * (768 + 3072)) == 1_179_648


@pytest.mark.parametrize("option", ["gpt2", "swiglu", "multi_query_rotary", "softcap"])
def test_flops_are_those_that_pytorch_counts_and_the_first_layers_input(option: str) -> None:
    config = settings(option)
    recipe = recipe_of(config)
    model = random_model(config)
    attach_adapters(model, recipe)
    tokens, targets = random_tokens(3, 12), random_tokens(3, 12, seed=1)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss_sum(tokens, targets).backward()
    unneeded = 2 * config.width * qkv_width(config)  # the gradient of the first layer's input
    assert counter.get_total_flops() == 36 * (training_flops_per_token(recipe, VOCABULARY) - unneeded)
    assert training_flops_per_token(Recipe(model=config), VOCABULARY) == flops_per_token(config, VOCABULARY).training


@pytest.mark.parametrize("element_bytes", [4, 2])
@pytest.mark.parametrize("option", ["gpt2", "modern", "llama_grouped", "relu"])
def test_activation_bytes_are_at_most_those_of_a_training_of_all_weights(option: str, element_bytes: int) -> None:
    config = settings(option, layers=6, width=64, context=96)
    model = random_model(config)
    factors = random_factors(model, recipe_of(config))
    tokens, targets = random_tokens(3, config.context), random_tokens(3, config.context, seed=1)
    with torch.autocast("cpu", torch.bfloat16, enabled=element_bytes == 2):
        measured = saved_bytes(model, tokens, targets) - sum(factor.nbytes for factor in factors.values())
    assert 0.8 < measured / activation_bytes(config, VOCABULARY, 3, element_bytes) <= 1


def test_gradients_under_autocast_are_float32_and_close() -> None:
    tokens, targets = random_tokens(2, 12), random_tokens(2, 12, seed=1)
    found = []
    for dtype in (None, torch.bfloat16):
        model = random_model(settings("gpt2"), scale=0.1)
        factors = random_factors(model, recipe_of(model.config))
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            loss = model.loss_sum(tokens, targets)
        loss.backward()
        found.append(torch.cat([factor.grad.flatten() for factor in factors.values() if factor.grad is not None]))
    assert found[1].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(found[0], found[1], dim=0) > 0.999


def test_a_frozen_head_gives_the_stream_the_same_gradient_and_has_none() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 8, generator=generator), torch.randn(VOCABULARY, 8, generator=generator)
    bias, targets = torch.randn(VOCABULARY, generator=generator), random_tokens(5)
    found = []
    for frozen in (False, True):
        own, head, shift = x.clone().requires_grad_(), weight.clone(), bias.clone()
        head.requires_grad_(not frozen)
        shift.requires_grad_(not frozen)
        chunked_loss_sum(own, head, shift, targets, 0.0, 2).backward()
        assert (head.grad is None) == frozen and (shift.grad is None) == frozen
        found.append(own.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (recipe_of(Context()), "which model.kind context trains as a whole"),
        (recipe_of(settings("gpt2"), lora_rank=17), "expected at most 16"),
    ],
)
def test_a_model_without_such_adapters_is_refused_in_one_line(recipe: Recipe, words: str) -> None:
    with pytest.raises(LabError, match=words):
        adapted_layers(recipe)
