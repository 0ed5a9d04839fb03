"""The context-propagation model: published sizes, costs against counted ones, decoding, initial values."""

import contextlib

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmlab import LabError
from lmlab.model.build import build_model
from lmlab.model.context import ContextModel
from lmlab.model.cost import activation_bytes, flops_per_token, palm_flops_per_token, parameters
from lmlab.model.initial import initialise
from lmlab.model.protocol import LanguageModel
from lmlab.recipe.model import Context
from tests.model.context_loop import SHAPES, VOCABULARY, random_context, settings, slow_logits
from tests.model.grid import random_tokens
from tests.model.test_memory import saved_bytes

PUBLISHED = [
    (6, 256, 2_739_432),
    (12, 512, 4_840_936),
    (1, 256, 1_426_152),
    (4, 256, 2_214_120),
    (5, 256, 2_476_776),
    (7, 256, 3_002_088),
]


@pytest.mark.parametrize("layers, vector, count", PUBLISHED)
def test_published_counts_are_met_by_formula_and_model(layers: int, vector: int, count: int) -> None:
    config = Context(layers=layers, width=256, hidden=512, vector=vector)
    with torch.device("meta"):
        model = build_model(config, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert parameters(config, 1000)["total"] == count


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_add_up_and_matrix_counts_what_a_token_is_multiplied_by(shape: str) -> None:
    config = settings(shape)
    counts, named = parameters(config, VOCABULARY), dict(random_context(config).named_parameters())
    parts = {"embedding": "embedding", "mlp": "blocks", "gates": "gates", "norms": "norm", "head": "head"}
    for part, prefix in parts.items():
        assert counts[part] == sum(entry.numel() for name, entry in named.items() if name.startswith(prefix)), part
    assert sum(counts[part] for part in parts) == counts["total"]
    matrices = {name: entry for name, entry in named.items() if entry.ndim == 2 and name != "embedding.weight"}
    assert counts["matrix"] == sum(entry.numel() for entry in matrices.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_flops_equal_those_that_pytorch_counts_of_the_slow_loop(shape: str) -> None:
    config = settings(shape)
    with FlopCounterMode(display=False) as counter:
        slow_logits(random_context(config), random_tokens(3, 7))
    expected = flops_per_token(config, VOCABULARY)
    assert counter.get_total_flops() == expected.forward * 3 * 7
    assert expected.backward == 2 * expected.forward
    assert expected.training == palm_flops_per_token(config, VOCABULARY) == 6 * parameters(config, VOCABULARY)["matrix"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fast_way_multiplies_less_by_what_the_docstrings_say(shape: str) -> None:
    config, rows, time = settings(shape), 4, 9
    model = random_context(config)
    with FlopCounterMode(display=False) as counter:
        loss = model.loss_sum(random_tokens(rows, time), random_tokens(rows, time, seed=1))
    forward, costs = counter.get_total_flops(), flops_per_token(config, VOCABULARY)
    embedded = 2 * config.width * config.hidden
    gates = 2 * 3 * config.vector * config.hidden
    # The embedding's part once a symbol in place of once a token; no gates after the last token.
    assert forward == rows * time * (costs.forward - embedded) + VOCABULARY * embedded - rows * gates
    # PyTorch's counter knows nothing of products in place.
    in_place = {torch.ops.aten.addmm_: lambda own, left, right, **_: 2 * left[0] * left[1] * right[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        loss.backward()
    # The first vector is zero and nobody's result, so that nothing goes back to it.
    assert counter.get_total_flops() == 2 * forward - rows * 2 * config.vector * config.hidden


@pytest.mark.parametrize("element_bytes", [4, 2])
@pytest.mark.parametrize("rows", [3, 20])
def test_activation_bytes_are_what_autograd_saves(rows: int, element_bytes: int) -> None:
    config = Context(layers=3, width=24, hidden=40, vector=16, context=3, dropout=0.2)
    model = random_context(config, dtype=torch.float32)
    tokens, targets = random_tokens(rows, 3), random_tokens(rows, 3, seed=1)
    autocast = torch.autocast("cpu", torch.bfloat16) if element_bytes == 2 else contextlib.nullcontext()
    with autocast:
        measured = saved_bytes(model, tokens, targets)
    assert activation_bytes(config, VOCABULARY, rows, element_bytes) == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_reading_piece_by_piece_equals_reading_at_once(shape: str) -> None:
    model = random_context(settings(shape)).eval()
    tokens, read = random_tokens(3, 12), 0
    expected, vectors = slow_logits(model, tokens)
    cache = model.start_cache(3, 12)
    for new in (4, 1, 1, 3, 1, 2):
        logits = model.advance(tokens[:, read : read + new], cache)
        read += new
        assert cache.held == [read] * 3
        torch.testing.assert_close(logits, expected[:, read - 1])
        torch.testing.assert_close(cache.vector, vectors[read - 1])


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_different_lengths_equal_each_row_alone(shape: str) -> None:
    model = random_context(settings(shape)).eval()
    lengths, tokens, following = [2, 7, 4], random_tokens(3, 7), random_tokens(3, 4, seed=1)
    cache = model.start_cache(3, 12)
    together = [model.advance(tokens, cache, lengths)]
    together += [model.advance(following[:, step : step + 1], cache) for step in range(4)]
    for row, length in enumerate(lengths):
        whole = torch.cat((tokens[row, :length], following[row]))
        alone, _ = slow_logits(model, whole[None])
        torch.testing.assert_close(torch.stack([logits[row] for logits in together]), alone[0, length - 1 :])
    assert cache.held == [6, 11, 8]


def test_selected_rows_go_on_as_before_in_the_order_asked_for() -> None:
    model = random_context(settings("three_layers")).eval()
    tokens, following, lengths = random_tokens(3, 5), random_tokens(3, 1, seed=1), [5, 3, 4]
    cache = model.start_cache(3, 12)
    model.advance(tokens, cache, lengths)
    cache.select([2, 0, 2])
    assert cache.held == [4, 5, 4]
    logits = model.advance(following, cache)
    for row, source in enumerate((2, 0, 2)):
        whole = torch.cat((tokens[source, : lengths[source]], following[row]))
        torch.testing.assert_close(logits[row], model(whole[None])[0, -1].detach())


def test_the_state_is_one_vector_however_much_was_read() -> None:
    model = random_context(settings("three_layers")).eval()
    cache = model.start_cache(2, 12)
    for step in range(12):
        model.advance(random_tokens(2, 1, seed=step), cache)
        assert cache.vector.shape == (2, 4) and cache.vector.untyped_storage().nbytes() == 2 * 4 * 8


def test_more_than_the_context_is_refused() -> None:
    model = random_context(settings("three_layers")).eval()
    cache = model.start_cache(2, 6)
    model.advance(random_tokens(2, 4), cache)
    with pytest.raises(LabError, match="at most 6 tokens a row, but 4 \\+ 3"):
        model.advance(random_tokens(2, 3), cache)
    assert cache.held == [4, 4]
    with pytest.raises(LabError, match="longer than the model's context of 12"):
        model.start_cache(2, 13)
    with pytest.raises(LabError, match="13 tokens are more than the model's context of 12"):
        model(random_tokens(1, 13))


def test_it_is_a_language_model() -> None:
    model: LanguageModel = random_context(settings("three_layers"))
    assert (model.vocabulary, model.context, model.device.type, model.training) == (11, 12, "cpu", True)
    assert model.train(False) is model


def test_initial_values_are_those_of_the_paper_and_the_same_for_the_tensors_that_two_models_share() -> None:
    models = [ContextModel(Context(layers=layers, width=64, hidden=96, vector=48), 50) for layers in (2, 3)]
    for model in models:
        initialise(model, 1)
    values, others = (dict(model.named_parameters()) for model in models)
    for name, tensor in values.items():
        if name == "norm.weight":
            assert torch.equal(tensor, torch.ones(48))
        elif name.endswith("bias"):
            assert not tensor.any(), name
        else:
            assert float(tensor.detach().std()) == pytest.approx(0.02, rel=0.05), name
        assert torch.equal(tensor, others[name])


def test_torch_s_initial_values_spread_as_its_modules_do() -> None:
    model = ContextModel(Context(layers=2, width=64, hidden=96, vector=48, init="torch"), 50)
    initialise(model, 1)
    values = {name: tensor.detach() for name, tensor in model.named_parameters()}
    assert float(values["embedding.weight"].std()) == pytest.approx(1.0, rel=0.05)
    inputs = {"blocks.0": 64 + 48, "blocks.1": 96, "gates": 96, "head": 96}
    for layer, width in inputs.items():
        for kind in ("weight", "bias"):
            assert float(values[f"{layer}.{kind}"].abs().max()) == pytest.approx(width**-0.5, rel=0.1), layer
