"""A recipe for any text: chosen by plain facts, and each choice explained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.planning.texts.choose import MOST_EPOCHS, TextFacts, choose_recipe
from lmlab.recipe import check
from lmlab.recipe.sizes import SIZES


def facts(size=1_115_394, distinct=65):
    return TextFacts(name="my", corpus="my.txt", bytes=size, distinct_characters=distinct, words=size // 6)


@given(
    st.integers(1_500, 10**11),
    st.integers(2, 5_000),
    st.sampled_from(["cpu", "cuda", "mps"]),
    st.sampled_from([None, *SIZES]),
)
def test_every_text_gets_a_recipe_that_can_be_run(size, distinct, device, name):
    choice = choose_recipe(facts(size, distinct), device, name)
    recipe = check(choice.recipe)
    assert recipe.data.corpus == "my.txt"
    validation = size * recipe.data.valid_share / (1 if recipe.data.tokenizer == "characters" else 4)
    assert recipe.model.context <= max(16, validation)
    assert all("\n" not in reason for reason in choice.reasons)
    assert any("steps" in reason for reason in choice.reasons) and any("size" in reason for reason in choice.reasons)


def test_a_small_alphabet_is_read_by_characters_and_a_large_text_by_bpe():
    assert choose_recipe(facts(), "cpu").recipe.data.tokenizer == "characters"
    assert choose_recipe(facts(50_000_000), "cpu").recipe.data.tokenizer == "bpe"
    assert choose_recipe(facts(distinct=4_000), "cpu").recipe.data.tokenizer == "bpe", "Chinese, say"


def test_a_gpu_gets_a_larger_model_and_a_wish_is_followed():
    assert choose_recipe(facts(), "cuda").recipe.model.width > choose_recipe(facts(), "cpu").recipe.model.width
    assert choose_recipe(facts(), "cpu", "10m").recipe.model.width == SIZES["10M"].width
    with pytest.raises(LabError, match="expected parameters such as 750k, 2M, 3.5M or 1B"):
        choose_recipe(facts(), "cpu", "seven")


def test_a_small_text_is_not_read_more_often_than_it_can_teach():
    recipe = choose_recipe(facts(200_000), "cuda").recipe
    tokens = recipe.train.steps * recipe.train.batch * recipe.model.context
    assert tokens <= MOST_EPOCHS * 200_000
    assert recipe.optim.weight_decay > 0


def test_what_is_read_more_often_is_remembered_less():
    once, twice, often, very_often = (
        choose_recipe(facts(), "cpu", steps=steps).recipe for steps in (400, 900, 2_000, 8_000)
    )
    assert once.model.ngrams == twice.model.ngrams == (2, 3, 4, 5)
    assert often.model.ngrams == very_often.model.ngrams == ()
    decays = [recipe.optim.weight_decay for recipe in (once, twice, often, very_often)]
    assert 0 == decays[0] < decays[1] == decays[2] < decays[3]
    assert very_often.model.dropout == 0 < choose_recipe(facts(), "cuda").recipe.model.dropout, "10 parameters a token"
    assert choose_recipe(facts(50_000_000), "cpu").recipe.model.ngrams == (2, 3), "a BPE's n-grams are longer"


def test_a_text_that_is_too_short_is_refused_with_how_long_it_should_be():
    with pytest.raises(LabError, match=r"my.txt is too short: 200 bytes, expected at least 320"):
        choose_recipe(facts(200, 20), "cpu")


def test_passes_that_are_asked_for_decide_the_steps_and_all_that_follows_from_them():
    choice = choose_recipe(facts(), "cpu", epochs=0.5)
    assert any("as many steps as 0.5 passes" in reason for reason in choice.reasons)
    half = choice.recipe
    step_tokens = half.train.batch * half.model.context
    assert half.train.steps == round(0.5 * 0.9 * 1_115_394 / step_tokens)
    assert half.schedule.warmup == half.train.steps // 10
    assert (half.model.ngrams, half.optim.weight_decay) == ((2, 3, 4, 5), 0.0)
    assert choose_recipe(facts(), "cpu", epochs=20).recipe.model.ngrams == ()


def test_what_was_derived_is_named_and_what_was_asked_for_is_not():
    chosen, asked = choose_recipe(facts(), "cpu").recipe, choose_recipe(facts(), "cpu", steps=90).recipe
    assert {"schedule.warmup", "evaluate.every", "train.checkpoint_every"} <= set(asked.derived)
    assert "train.steps" in chosen.derived and "train.steps" not in asked.derived
