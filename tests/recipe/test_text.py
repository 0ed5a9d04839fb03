"""Recipes as TOML: exact round trips, and invalid files."""

import dataclasses
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.recipe import (
    GPT,
    AdamW,
    Claim,
    Constant,
    Cosine,
    Data,
    Muon,
    Recipe,
    from_toml,
    load_recipe,
    read_recipe,
    recipe_names,
    to_toml,
)
from lmlab.recipe.text import nesting

POSITIVE = st.floats(1e-9, 0.5)


@st.composite
def recipes(draw):
    return Recipe(
        name=draw(st.text(max_size=10)),
        about=draw(st.text(max_size=20)),
        data=Data(corpus=draw(st.text(max_size=8)), separator=draw(st.sampled_from(["", "<|endoftext|>", "none"]))),
        model=GPT(
            layers=draw(st.integers(1, 99)),
            dropout=draw(POSITIVE),
            kv_heads=draw(st.sampled_from([None, 2])),
            ngrams=draw(st.lists(st.integers(2, 8), max_size=4, unique=True).map(tuple)),
        ),
        optim=draw(st.builds(AdamW, lr=POSITIVE, betas=st.tuples(POSITIVE, POSITIVE)) | st.builds(Muon, lr=POSITIVE)),
        schedule=draw(st.builds(Constant, warmup=st.integers(0, 9)) | st.builds(Cosine, floor=POSITIVE)),
        claims=tuple(
            draw(st.lists(st.builds(Claim, metric=st.just("valid_loss"), value=POSITIVE, source=st.text(max_size=9))))
        ),
    )


@given(recipes())
def test_toml_and_back_is_exact(recipe):
    text = to_toml(recipe)
    assert from_toml(text) == recipe
    assert to_toml(from_toml(text)) == text


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_reads_and_writes_back_to_itself(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert from_toml(to_toml(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = 3", "[model] must be a table"),
        ("[modle]\nlayers = 3", "did you mean model?"),
        ("[model]\nlayers = '3'", "without quotes"),
        ("[model]\nlayers = 3.5", "a whole number"),
        ("[model]\nlayers = true", "a whole number"),
        ("[model]\nngrams = 2", "a list"),
        ("[model]\nngrams = [2.5]", "a whole number"),
        ("[model]\nngrams = ['2']", "without quotes"),
        ("[model]\nngrams = [2, 2]", "more than once"),
        ("[model]\nlayer = 3", "did you mean model.layers?"),
        ("format = 9", "format 9"),
        ("[model", "not valid TOML"),
        ("[[claims]]\nmetric = 'x'", "a claim has"),
        ("[data]\ncorpus = 3", "expected text"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line_with_its_name(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(LabError) as caught:
        read_recipe(path)
    assert words in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_missing_and_undecodable_files_are_named(tmp_path):
    with pytest.raises(LabError, match="there is no recipe file"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(LabError, match="not UTF-8 at byte 8"):
        read_recipe(tmp_path / "latin.toml")


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(LabError, match="did you mean shakespeare-cpu?"):
        load_recipe("shakespear-cpu")


def test_a_recipe_file_without_a_name_is_named_after_its_file(tmp_path):
    (tmp_path / "mine.toml").write_text("[train]\nsteps = 3")
    assert read_recipe(tmp_path / "mine.toml").name == "mine"


def test_a_prompt_may_look_like_a_number():
    assert from_toml("[evaluate]\nprompts = ['42', 'x']").evaluate.prompts == ("42", "x")


def test_every_setting_has_a_description_for_the_help():
    import inspect

    for choice in (Data, GPT, AdamW, Muon, Constant, Cosine):
        source = inspect.getsource(choice)
        for entry in dataclasses.fields(choice):
            assert f"    {entry.name}: " in source
        assert source.count('    """') >= len(dataclasses.fields(choice)), choice
        assert typing.get_type_hints(choice)


def test_what_a_file_leaves_out_has_the_default_of_the_kind_that_it_names():
    from lmlab.recipe import Linear

    assert from_toml('[schedule]\nkind = "linear"\nwarmup = 3').schedule == Linear(warmup=3)


def test_nesting_is_counted_outside_quotes_and_comments_and_refused_before_it_is_parsed():
    assert nesting("a = \"[[[\" # [[[[\nb = [[1],[2]]\nc={d=['{{']}") == 2
    assert nesting("[model]\nwidth = 64") == 1 and nesting("a = 1") == 0
    with pytest.raises(LabError, match="x.toml is not valid TOML: brackets are nested more than 100 deep"):
        from_toml("x = " + "{a=" * 100_000, "x.toml")
