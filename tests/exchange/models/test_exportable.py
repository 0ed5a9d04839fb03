"""What a recipe's model can be exported to is known before it is trained, and is what the writers can do."""

import subprocess
import sys
from dataclasses import replace

import pytest

from lmlab.exchange.models.exportable import FORMATS, HTML, exportable
from lmlab.recipe import Context, Data, Recipe, load_recipe
from lmlab.recipe.model import GPT, PRESETS

CHARACTERS = Data(tokenizer="characters", vocabulary=None)


def programs(found):
    """The formats but for the page, which every model of lmlab's has."""
    assert found.formats[-1] == HTML
    return found.formats[:-1]


def formats(model=GPT(), data=CHARACTERS):  # noqa: B008 - constants
    return programs(exportable(Recipe(model=model, data=data)))


@pytest.mark.parametrize("preset, expected", [("gpt2", ("hf", "gguf")), ("llama", ("hf", "gguf")), ("modern", ())])
def test_presets(preset, expected):
    assert formats(GPT(**PRESETS[preset])) == expected


@pytest.mark.parametrize(
    "name, expected",
    [
        ("shakespeare-cpu", ("hf", "nanogpt")),
        ("the-verdict", ("hf", "gguf")),
        ("first", ()),
        ("wikitext2-context-best", ()),
    ],
)
def test_recipes(name, expected):
    assert programs(exportable(load_recipe(name))) == expected


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"activation": "gelu"}, ("hf", "nanogpt")),
        ({"activation": "relu"}, ("hf",)),
        ({"activation": "relu2"}, ("hf",)),
        ({"activation": "swiglu"}, ()),
        ({"positions": "rotary"}, ()),
        ({"norm": "rmsnorm"}, ()),
        ({"kv_heads": 2}, ()),
        ({"kv_heads": 4}, ("hf", "nanogpt")),
        ({"tied": False}, ("hf",)),
        ({"hidden": 100}, ("hf",)),
        ({"bias": False}, ("hf", "nanogpt")),
        ({"qkv_bias": False}, ("hf", "nanogpt")),
        ({"norm_epsilon": 1e-6}, ("hf",)),
        ({"dropout": 0.3, "zero_init": True, "init": "torch"}, ("hf", "nanogpt")),
        *(({name: True}, ()) for name in ("head_bias", "qk_norm", "value_residual", "embedding_skip")),
        ({"softcap": 15.0}, ()),
        ({"ngrams": (2,)}, ()),
    ],
)
def test_each_setting_decides_alone(changes, expected):
    found = exportable(Recipe(model=replace(GPT(), **changes), data=CHARACTERS))
    assert programs(found) == expected
    assert set(found.formats) | set(found.reasons) == set(FORMATS)
    assert not set(found.formats) & set(found.reasons) and all(found.reasons.values())


@pytest.mark.parametrize(
    "data, expected",
    [
        (Data(tokenizer="bpe", vocabulary=300), ("hf",)),
        (Data(tokenizer="gpt2"), ("hf", "nanogpt")),
        (Data(tokenizer="bytes"), ("hf",)),
        (Data(tokenizer="words"), ("hf",)),
        (Data(tokenizer="characters", unknown="replace"), ("hf",)),
    ],
)
def test_the_tokenizer_decides_too(data, expected):
    assert formats(data=data) == expected


def test_another_family_is_exported_as_a_page_alone():
    found = exportable(Recipe(model=Context()))
    assert found.formats == (HTML,) and "model.kind context" in found.line()


def test_an_imported_tokenizer_has_no_page():
    found = exportable(Recipe(model=GPT(activation="gelu_tanh"), data=Data(tokenizer="imported")))
    assert found.formats == ("hf",) and found.reasons[HTML] == ("data.tokenizer imported",)


def test_the_line_names_formats_and_reasons():
    assert exportable(load_recipe("shakespeare-cpu")).line() == "hf, nanogpt, html; not gguf: model.activation gelu"
    line = exportable(load_recipe("first")).line()
    assert (
        line.startswith("html, no other program's format: model.qk_norm") and line.endswith("more") and len(line) < 130
    )


def test_it_needs_no_torch():
    code = "import sys, lmlab.exchange.models.exportable; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
