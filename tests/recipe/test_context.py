"""Recipes of kind context: their names, files, hashes, and the GPT settings that they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.recipe import (
    GPT,
    Constant,
    Context,
    Recipe,
    check,
    dotted_names,
    from_toml,
    override,
    recipe_hash,
    science,
    to_toml,
)

CONTEXT = Recipe(model=Context())


def test_its_names_are_its_own_settings_and_no_preset():
    names = {name for name in dotted_names(CONTEXT) if name.startswith("model.")}
    settings = ("kind", "layers", "width", "hidden", "vector", "context", "init", "dropout", "residual")
    assert names == {f"model.{setting}" for setting in settings}
    assert "model.preset" in dotted_names(Recipe())


def test_a_change_of_kind_keeps_what_both_have_where_it_fits():
    gpt = Recipe(model=GPT(layers=3, width=96, context=40, dropout=0.3, init="gpt2", hidden=None))
    model = override(gpt, {"model.kind": "context", "model.vector": "7"}).model
    # A GPT's init gpt2 and a hidden width of none mean nothing here.
    assert model == Context(layers=3, width=96, context=40, dropout=0.3, vector=7)
    other = Recipe(model=GPT(init="torch", hidden=99))
    assert override(other, {"model.kind": "context"}).model.init == "torch"
    assert override(other, {"model.kind": "context"}).model.hidden == 99
    back = override(Recipe(model=Context(layers=2, hidden=50)), {"model.kind": "gpt"}).model
    assert (back.kind, back.layers, back.hidden, back.heads) == ("gpt", 2, 50, GPT().heads)


@given(
    model=st.builds(
        Context,
        layers=st.integers(1, 99),
        width=st.integers(1, 999),
        hidden=st.integers(1, 999),
        vector=st.integers(1, 999),
        context=st.integers(2, 999),
        init=st.sampled_from(["normal", "torch"]),
        dropout=st.floats(0, 0.9),
    )
)
def test_a_file_gives_the_same_recipe_back(model):
    recipe = Recipe(model=model, schedule=Constant())
    again = from_toml(to_toml(recipe))
    assert again == recipe
    assert recipe_hash(again) == recipe_hash(recipe)


def test_a_file_of_this_kind_has_its_defaults():
    assert from_toml('[model]\nkind = "context"\nlayers = 2\n').model == Context(layers=2)


@pytest.mark.parametrize("setting", ["layers", "width", "hidden", "vector", "context"])
def test_every_size_decides_the_hash(setting):
    changed = override(CONTEXT, {f"model.{setting}": "33"})
    assert recipe_hash(changed) != recipe_hash(CONTEXT)
    assert science(changed)[f"model.{setting}"] == 33


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.heads": "4"}, "model.heads belongs to model.kind = gpt, but model.kind is context"),
        ({"model.preset": "modern"}, "model.preset belongs to model.kind = gpt, but model.kind is context"),
        ({"model.hidden": "none"}, "model.hidden can't be 'none': expected a whole number"),
        ({"model.context": "1"}, "at least 2"),
        ({"model.init": "gpt2"}, "normal, torch"),
        ({"model.vectors": "4"}, "did you mean model.vector?"),
        ({"model.kind": "rnn"}, "expected one of gpt, context"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, words):
    with pytest.raises(LabError) as caught:
        check(override(CONTEXT, changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_gpt_refuses_a_vector():
    with pytest.raises(LabError, match=r"model.vector belongs to model.kind = context, but model.kind is gpt"):
        override(Recipe(), {"model.vector": "4"})
