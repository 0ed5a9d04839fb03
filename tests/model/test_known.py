"""The engine computes what it was told of, and PyTorch all else."""

import dataclasses

import pytest
import torch

from lmlab.model import native, recurrence_native
from lmlab.model.families import family_of
from lmlab.model.native import native_engine
from lmlab.model.recurrence_native import kernel_for
from lmlab.recipe.model import GPT, PRESETS, Context
from tests.engine import engine_library
from tests.model.context_loop import random_context
from tests.model.grid import OPTIONS, random_model, settings

FAMILIES = [(GPT(), native.KNOWN), (Context(), recurrence_native.KNOWN)]
SMUGGLED = {
    "gpt": {
        **{"kind": "other", "positions": "alibi", "norm": "deepnorm", "activation": "mish", "ngrams": (2, "3")},
        **{"bias": "half", "qkv_bias": 2, "tied": None, "head_bias": 0.5, "qk_norm": "learned", "softcap": -1.0},
        **{"dropout": 1.0, "value_residual": "deep", "embedding_skip": 3, "layers": 0, "heads": 2.5, "kv_heads": -1},
        **{"width": "64", "hidden": 0, "context": None, "ngram_rows": 0, "norm_epsilon": 1e-6, "rotary_base": -1.0},
    },
    "context": {
        **{"kind": "other", "layers": 0, "width": None, "hidden": 32.0, "vector": "16", "context": -3},
        **{"dropout": float("nan"), "residual": "gated"},
    },
}
WHATEVER = {"gpt": {"init", "zero_init"}, "context": {"init"}}
"""What decides initial values alone: any value is computed."""


@pytest.fixture
def library():
    """Skips where the engine can't be had."""
    return engine_library()


def smuggled(model, name, value):
    """`model` with a value that its family doesn't have."""
    other = dataclasses.replace(model)
    object.__setattr__(other, name, value)
    return other


@pytest.mark.parametrize("model, known", FAMILIES)
def test_every_field_of_a_family_is_decided(model, known):
    assert set(known) == {field.name for field in dataclasses.fields(model)}
    assert set(SMUGGLED[model.kind]) | WHATEVER[model.kind] == set(known)


def unsupported(model):
    return family_of(model).unsupported(model)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_a_gpt_is_known(name):
    assert unsupported(settings(name)) is None


@pytest.mark.parametrize("model", [GPT(), GPT(**PRESETS["modern"]), Context(), Context(residual=True, dropout=0.0)])
def test_what_families_are_today_is_known(model):
    assert unsupported(model) is None


@pytest.mark.parametrize("model, known", FAMILIES)
def test_a_value_that_is_not_known_is_a_reason(model, known):
    for name, value in SMUGGLED[model.kind].items():
        reason = unsupported(smuggled(model, name, value))
        assert reason == f"it doesn't support model.{name} {value}"


@pytest.mark.parametrize("model, known", FAMILIES)
def test_a_field_that_came_later_counts_where_it_is_not_at_its_default(model, known):
    later = dataclasses.make_dataclass(
        "Later", [("sinks", int, dataclasses.field(default=0))], bases=(type(model),), frozen=True, kw_only=True
    )
    assert unsupported(later()) is None
    assert unsupported(later(sinks=4)) == "it doesn't support model.sinks 4"


def test_a_model_of_unknown_settings_has_no_engine(library):
    model = random_model(settings("gpt2"))
    assert native_engine(model) is not None
    model = random_model(settings("gpt2"))
    model.config = smuggled(model.config, "positions", "alibi")
    assert native_engine(model) is None


def test_a_recurrence_of_unknown_settings_has_no_kernel(library):
    config = Context(layers=2, width=8, hidden=16, vector=16, context=8, dropout=0.0)
    model = random_context(config, dtype=torch.float32)
    assert kernel_for(model, config, model.embedding.weight) is not None
    assert kernel_for(model, smuggled(config, "residual", "gated"), model.embedding.weight) is None


def test_a_parameter_of_unknown_use_leaves_the_model_to_pytorch(library):
    for where in (lambda model: model, lambda model: model.blocks[1].attention):
        model = random_model(settings("gpt2"))
        where(model).sink = torch.nn.Parameter(torch.zeros(3))
        assert native_engine(model) is None
