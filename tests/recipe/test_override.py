"""Dotted names: the changes that they make, and the one-line errors for everything else."""

import pytest

from lmlab import LabError
from lmlab.recipe import GPT, Muon, Recipe, check, load_recipe, override
from lmlab.recipe.model import PRESETS
from lmlab.recipe.optim import AdamW


def refusal(changes):
    with pytest.raises(LabError) as caught:
        check(override(Recipe(), changes))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_text_becomes_the_type_of_its_field():
    changed = override(
        Recipe(),
        {
            "train.steps": "1e4",
            "optim.lr": "3e-4",
            "model.tied": "false",
            "optim.betas": "0.9, 0.95",
            "train.micro_batch": "none",
            "data.tokenizer": "characters",
            "evaluate.prompts": "one, two",
            "model.ngrams": "2, 3",
            "optim.table_lr": "0.1",
        },
    )
    assert changed.train.steps == 10_000 and isinstance(changed.train.steps, int)
    assert changed.optim.lr == 3e-4
    assert changed.model.tied is False
    assert changed.model.ngrams == (2, 3)
    assert changed.optim.table_lr == 0.1
    assert changed.optim.betas == (0.9, 0.95)
    assert changed.train.micro_batch is None
    assert changed.data.tokenizer == "characters"
    assert changed.evaluate.prompts == ("one, two",), "a prompt may contain a comma"


def test_repeated_prompts_are_kept_apart():
    assert override(Recipe(), {"evaluate.prompts": ("a", "b")}).evaluate.prompts == ("a", "b")


@pytest.mark.parametrize("text", ["", "none", "[]", "()", ()])
def test_a_list_can_be_emptied(text):
    assert override(Recipe(model=GPT(ngrams=(2, 3))), {"model.ngrams": text}).model.ngrams == ()


@pytest.mark.parametrize("text", ["3", "[3]", (3,), [3]])
def test_a_list_of_one_needs_no_comma(text):
    assert override(Recipe(), {"model.ngrams": text}).model.ngrams == (3,)


def test_presets_leave_ngram_tables_alone():
    recipe = Recipe(model=GPT(ngrams=(2, 3), ngram_rows=99))
    for preset in PRESETS:
        model = override(recipe, {"model.preset": preset}).model
        assert (model.ngrams, model.ngram_rows) == ((2, 3), 99)


def test_a_new_optimizer_brings_its_own_defaults():
    changed = override(Recipe(), {"optim.kind": "muon", "optim.momentum": "0.9"})
    assert changed.optim == Muon(momentum=0.9)
    assert override(changed, {"optim.kind": "adamw"}).optim == AdamW()


def test_a_new_schedule_keeps_the_warmup():
    changed = override(Recipe(), {"schedule.warmup": "7", "schedule.kind": "wsd"})
    assert (changed.schedule.kind, changed.schedule.warmup) == ("wsd", 7)


def test_a_preset_is_applied_before_the_fields_beside_it():
    changed = override(Recipe(), {"model.norm": "layernorm", "model.preset": "modern"})
    assert (changed.model.norm, changed.model.positions, changed.model.layers) == ("layernorm", "rotary", GPT().layers)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.layer": "3"}, ["model.layer", "did you mean model.layers?"]),
        ({"lr": "3"}, ["unknown setting 'lr'", "optim.lr"]),
        ({"train.stepz": "3"}, ["did you mean train.steps?"]),
        ({"max_iters": "3"}, ["train.steps"]),
        ({"block_size": "3"}, ["model.context"]),
        ({"per_device_train_batch_size": "3"}, ["train.micro_batch"]),
        ({"model.layers": "six"}, ["model.layers", "'six'", "a whole number"]),
        ({"model.layers": "2.5"}, ["a whole number"]),
        ({"model.layers": "0"}, ["at least 1"]),
        ({"model.dropout": "1"}, ["below 1.0"]),
        ({"optim.lr": "nan"}, ["a finite number"]),
        ({"optim.lr": "inf"}, ["a finite number"]),
        ({"optim.betas": "0.9"}, ["2 values"]),
        ({"optim.betas": "0.9,1.5"}, ["below 1.0"]),
        ({"model.norm": "batch"}, ["layernorm, rmsnorm"]),
        ({"model.tied": "maybe"}, ["true or false"]),
        ({"optim.momentum": "0.9"}, ["optim.kind = muon"]),
        ({"optim.kind": "sgd"}, ["adamw, muon"]),
        ({"model.preset": "gpt5"}, ["gpt2, modern, llama"]),
        ({"model": "x"}, ["is a section"]),
        ({"model.width": "130"}, ["model.heads 4", "model.width 130", "5"]),
        ({"model.kv_heads": "3"}, ["model.kv_heads 3", "must divide"]),
        ({"model.positions": "rotary", "model.width": "20"}, ["even head width"]),
        ({"model.ngrams": "2,x"}, ["model.ngrams", "'2,x'", "a list", "a whole number"]),
        ({"model.ngrams": "2,,3"}, ["a whole number"]),
        ({"model.ngrams": 2}, ["model.ngrams", "a list"]),
        ({"model.ngrams": "2,9"}, ["model.ngrams can't be 2,9", "each at most 8"]),
        ({"model.ngrams": "1"}, ["each at least 2"]),
        ({"model.ngrams": "3,2,3"}, ["model.ngrams names 3 more than once"]),
        ({"model.ngrams": "2,3,4,5,6"}, ["5 lengths", "at most 4"]),
        ({"model.ngram_rows": "0"}, ["at least 1"]),
        ({"optim.table_lr": "0"}, ["above 0.0"]),
        ({"optim.betas": 0.9}, ["2 values"]),
        ({"train.micro_batch": "5"}, ["must divide train.batch 16", "4"]),
        ({"schedule.warmup": "2000"}, ["schedule.warmup 2000 is longer than train.steps 1000", "at most 1000"]),
        ({"data.vocabulary": "100"}, ["257 (bytes, end of text) or more"]),
        ({"data.tokens": "50"}, ["model.context 128"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_what_can(changes, words):
    message = refusal(changes)
    for word in words:
        assert word in message


def test_every_field_of_every_recipe_can_be_overridden_with_its_own_value():
    from lmlab.recipe import dotted_names, recipe_names

    for name in recipe_names():
        recipe = load_recipe(name)
        for dotted in dotted_names(recipe):
            if dotted in ("model.preset", "name", "about"):
                continue
            section, _, key = dotted.rpartition(".")
            value = getattr(getattr(recipe, section) if section else recipe, key)
            if isinstance(value, tuple) and value and isinstance(value[0], str):
                continue
            text = "none" if value is None else ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            assert override(recipe, {dotted: text}) == recipe, dotted
