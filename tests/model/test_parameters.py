"""Parameter counts: published ones, and the formula against real models."""

import pytest
import torch

from lmlab.model.build import build_model
from lmlab.model.cost import parameters
from lmlab.recipe.model import GPT
from tests.model.grid import OPTIONS, VOCABULARY, settings

EAMON = {"qkv_bias": False, "tied": False, "head_bias": True, "activation": "relu", "init": "normal"}
SMALL = {"layers": 12, "heads": 12, "width": 768, "context": 1024}

PUBLISHED = [
    ({"layers": 4, "heads": 4, "width": 128, "context": 128, **EAMON}, 28, 815_388),
    ({"layers": 6, "heads": 6, "width": 384, "context": 256, **EAMON}, 110, 10_823_534),
    ({**SMALL, "qkv_bias": False, "tied": False}, 50_257, 163_009_536),
    (SMALL, 50_257, 124_439_808),
    ({**SMALL, "qkv_bias": False}, 50_257, 124_412_160),
]


@pytest.mark.parametrize("shape, vocabulary, count", PUBLISHED)
def test_published_counts_are_met_by_formula_and_model(shape: dict, vocabulary: int, count: int) -> None:
    config = GPT(**shape)
    with torch.device("meta"):
        model = build_model(config, vocabulary)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert parameters(config, vocabulary)["total"] == count


def test_nanogpt_without_biases_has_its_published_sizes() -> None:
    """nanoGPT prints counts without the positions: 10.65M for its character model, 123.65M for GPT-2 small."""
    character = GPT(layers=6, heads=6, width=384, context=256, bias=False, qkv_bias=False)
    counts = parameters(character, 65)
    assert round((counts["total"] - counts["positions"]) / 1e6, 2) == 10.65
    counts = parameters(GPT(**SMALL), 50_257)
    assert round((counts["total"] - counts["positions"]) / 1e6, 2) == 123.65


@pytest.mark.parametrize("option", OPTIONS)
def test_every_part_of_the_formula_is_what_the_model_has(option: str) -> None:
    config = settings(option)
    counted = dict.fromkeys(("embedding", "ngrams", "positions", "attention", "mlp", "norms", "mixing", "head"), 0)
    matrix = 0
    for name, parameter in build_model(config, VOCABULARY).named_parameters():
        words = name.split(".")
        if words[-1] in ("first_share", "stream_shares"):
            part = "mixing"
        elif words[0] == "ngram_tables":
            part = "ngrams"
        elif words[-2].endswith("norm"):
            part = "norms"
        else:
            part = words[0] if words[0] != "blocks" else words[2]
        counted[part] += parameter.numel()
        if parameter.ndim == 2 and part not in ("embedding", "ngrams", "positions", "head"):
            matrix += parameter.numel()
    expected = parameters(config, VOCABULARY)
    assert {part: expected[part] for part in counted} == counted
    assert expected["total"] == sum(counted.values())
    assert expected["matrix"] == matrix + VOCABULARY * config.width
