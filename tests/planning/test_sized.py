"""--size N is the whole model: every trained number of it, n-gram tables included, is within a tenth of N."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.model.build import build_model
from lmlab.planning.texts.choose import TextFacts, choose_recipe
from lmlab.planning.texts.sized import FEWEST_ROWS, TOLERANCE, layers_at, size_words, sized_model
from lmlab.recipe import GPT, check
from lmlab.recipe.sizes import SIZES, adam_rate, nearest_size


def facts(size=1_115_394, distinct=65):
    return TextFacts(name="my", corpus="my.txt", bytes=size, distinct_characters=distinct, words=size // 6)


def trained_numbers(model, vocabulary):
    return sum(parameter.numel() for parameter in build_model(model, vocabulary).parameters())


@pytest.mark.parametrize("size", ["100k", "300k", "750k", "1M", "2M", "3.5M"])
@pytest.mark.parametrize("steps", [200, 4000])
def test_the_whole_model_has_the_size_that_is_asked_for(size, steps):
    model = choose_recipe(facts(), "cpu", size, steps).recipe.model
    wanted = float(size[:-1]) * {"k": 1e3, "M": 1e6}[size[-1]]
    assert trained_numbers(model, 65) == pytest.approx(wanted, rel=TOLERANCE)


@settings(max_examples=60)
@given(
    st.floats(5.0, 9.0).map(lambda power: round(10**power)),
    st.sampled_from([30, 65, 300]),
    st.sampled_from([(), (2, 3), (2, 3, 4, 5)]),
)
def test_any_size_can_be_had_where_the_vocabulary_is_small(total, vocabulary, ngrams):
    from lmlab.model.cost import parameters

    model = sized_model(total, vocabulary, ngrams, 128, {})
    counted = parameters(model, vocabulary)
    assert counted["total"] == pytest.approx(total, rel=TOLERANCE)
    assert counted["ngrams"] <= 0.55 * total
    assert not model.ngrams or FEWEST_ROWS <= model.ngram_rows <= GPT().ngram_rows
    assert model.width % model.heads == 0 and model.width // model.heads in range(16, 65, 8)
    assert abs(model.layers - layers_at(model.width)) <= 3


def test_what_is_set_of_the_model_stays_and_the_rest_makes_up_for_it():
    model = choose_recipe(facts(), "cpu", "2M", settings={"model.layers": "2", "model.ngrams": "none"}).recipe.model
    assert model.layers == 2 and trained_numbers(model, 65) == pytest.approx(2e6, rel=TOLERANCE)
    tied = sized_model(2_000_000, 4096, (), 128, {"model.tied": "true"})
    assert tied.tied and trained_numbers(tied, 4096) == pytest.approx(2e6, rel=TOLERANCE)
    with pytest.raises(
        LabError, match=r"no model has 2M parameters with a vocabulary of 65 and model.layers 1, model.width 64: the"
    ):
        sized_model(2_000_000, 65, (), 128, {"model.layers": "1", "model.width": "64"})
    with pytest.raises(LabError, match=r"^model.heads 5 must divide model.width 384"):
        sized_model(10_000_000, 65, (), 128, {"model.heads": "5", "model.width": "384"})


def test_a_vocabulary_that_is_larger_than_the_model_is_said():
    with pytest.raises(
        LabError, match="no model has 100k parameters with a vocabulary of 16,384: the nearest has 527k"
    ) as refused:
        sized_model(100_000, 16_384, (), 128, {})
    assert "\n" not in str(refused.value)
    with pytest.raises(LabError, match="--size is for model.kind gpt, not for context"):
        sized_model(2_000_000, 65, (), 128, {"model.kind": "context"})


def test_the_size_that_is_printed_names_the_tables():
    chosen = choose_recipe(facts(), "cpu", steps=400)
    assert chosen.reasons[1].startswith("size: 804k parameters + 8.39M in n-gram tables, what a CPU trains in minutes")
    asked = choose_recipe(facts(), "cpu", "2M", 400)
    model = asked.recipe.model
    assert asked.reasons[1].startswith(f"size 2M: {size_words(model, 65)}; 4 layers")
    without = choose_recipe(facts(), "cpu", steps=400, settings={"model.ngrams": "none"})
    assert without.reasons[1].startswith("size: 804k parameters, what") and not any(
        "tables of" in one for one in without.reasons
    )


def test_a_known_shape_is_taken_where_it_has_the_size():
    for name in ("3M", "10M", "30M"):
        model = choose_recipe(facts(), "cpu", name).recipe.model
        assert (model.layers, model.heads, model.width) == (SIZES[name].layers, SIZES[name].heads, SIZES[name].width)


@pytest.mark.parametrize("size", ["0", "-2M", "2 Mio", "M", "1e400", "2MB", "nan", "9" * 50])
def test_what_is_no_size_is_refused_in_one_line(size):
    with pytest.raises(LabError, match="expected parameters such as 750k") as refused:
        choose_recipe(facts(), "cpu", size)
    assert "\n" not in str(refused.value)


def test_adams_rate_is_that_of_the_sizes_and_falls_between_them():
    for size in SIZES.values():
        assert adam_rate(size.width) == pytest.approx(size.adam_lr)
        assert nearest_size(1.1 * size.parameters) == size
    rates = [adam_rate(width) for width in range(16, 2048, 16)]
    assert rates == sorted(rates, reverse=True)
    assert adam_rate(1536) == pytest.approx(0.5e-3)


def test_every_chosen_recipe_can_be_run():
    for size in ("100k", "2M", "500M"):
        check(choose_recipe(facts(), "cuda", size).recipe)
