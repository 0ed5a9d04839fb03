"""Derived settings are derived again when their inputs change; settings made by a person are kept."""

import dataclasses
import math

import pytest

from lmlab import LabError
from lmlab.recipe import (
    GPT,
    AdamW,
    Cosine,
    Data,
    Evaluate,
    Linear,
    Muon,
    Recipe,
    Train,
    check,
    from_toml,
    load_recipe,
    override,
    recipe_hash,
    to_toml,
    with_settings,
)
from lmlab.recipe.derived import notes

PLANNED = Recipe(
    name="night",
    model=GPT(width=128, context=64),
    optim=Muon(adam_lr=4e-3),
    schedule=Linear(warmup=79),
    train=Train(steps=790, batch=16, checkpoint_every=200),
    evaluate=Evaluate(every=100),
    derived=("train.steps", "schedule.warmup", "evaluate.every", "train.checkpoint_every", "optim.adam_lr"),
)


def settings_of(recipe):
    train = recipe.train
    return train.steps, recipe.schedule.warmup, recipe.evaluate.every, train.checkpoint_every


def test_fewer_steps_take_a_derived_warm_up_along():
    changed = check(with_settings(PLANNED, {"train.steps": "60"}))
    assert settings_of(changed) == (60, 6, 8, 15)
    assert notes(PLANNED, changed, {"train.steps": "60"}) == [
        "derived again from train.steps 60: schedule.warmup 6 (was 79), evaluate.every 8 (was 100), "
        "train.checkpoint_every 15 (was 200)"
    ]


def test_what_a_person_sets_stays_and_a_conflict_names_both_settings():
    set_now = {"train.steps": "60", "schedule.warmup": "79"}
    with pytest.raises(
        LabError, match="schedule.warmup 79 is longer than train.steps 60: expected a warm-up of at most"
    ):
        check(with_settings(PLANNED, set_now))
    set_before = with_settings(PLANNED, {"schedule.warmup": "70"})
    assert "schedule.warmup" not in set_before.derived
    assert with_settings(set_before, {"train.steps": "100"}).schedule.warmup == 70
    by_an_author = dataclasses.replace(PLANNED, derived=("train.checkpoint_every",))
    with pytest.raises(LabError, match="schedule.warmup 79 is longer than train.steps 60"):
        check(with_settings(by_an_author, {"train.steps": "60"}))


def test_another_batch_keeps_the_tokens_and_moves_adams_rate_by_the_root():
    changed = with_settings(PLANNED, {"train.batch": "64"})
    assert changed.train.steps == round(790 / 4)
    assert changed.schedule.warmup == round(79 * changed.train.steps / 790)
    assert changed.optim.adam_lr == pytest.approx(2 * 4e-3)
    assert changed.optim.lr == PLANNED.optim.lr, "Muon's update has one size"
    with_steps = with_settings(PLANNED, {"train.batch": "64", "train.steps": "500"})
    assert (with_steps.train.steps, with_steps.schedule.warmup) == (500, 50)


def test_another_width_moves_adams_rate_unless_it_is_transferred():
    wider = {"model.width": "256"}
    assert with_settings(PLANNED, wider).optim.adam_lr == pytest.approx(2e-3)
    own = override(PLANNED, {"optim.transfer_from": "128"})
    assert with_settings(own, wider).optim.adam_lr == 4e-3
    adamw = Recipe(model=GPT(width=128), optim=AdamW(lr=1e-3), derived=("optim.lr",))
    changed = with_settings(adamw, {"model.width": "256", "train.batch": "32"})
    assert changed.optim.lr == float(f"{1e-3 * math.sqrt(2) / 2:.2g}")


def test_a_recipe_that_scales_its_rates_itself_is_not_scaled_twice():
    own = override(PLANNED, {"optim.batch_from": "16"})
    assert with_settings(own, {"train.batch": "64"}).optim.adam_lr == 4e-3


def test_another_kind_of_optimizer_or_schedule_has_its_own_settings():
    changed = with_settings(PLANNED, {"optim.kind": "adamw", "train.steps": "395"})
    assert changed.optim == AdamW()
    assert "optim.adam_lr" not in changed.derived
    assert with_settings(PLANNED, {"schedule.kind": "cosine", "train.steps": "395"}).schedule == Cosine(
        warmup=40, floor=0.0
    )


def test_a_fixed_schedule_is_said_where_the_steps_leave_it():
    recipe = Recipe(schedule=Cosine(steps=5000), train=Train(steps=5000))
    shorter = {"train.steps": "2000"}
    [said] = notes(recipe, with_settings(recipe, shorter), shorter)
    assert "schedule.steps stays 5,000" in said and "train.steps 2,000" in said and "does not reach its floor" in said
    longer = {"train.steps": "9000"}
    [said] = notes(recipe, with_settings(recipe, longer), longer)
    assert "is at its floor from there on" in said
    both = {"train.steps": "2000", "schedule.steps": "none"}
    assert notes(recipe, with_settings(recipe, both), both) == []
    free = Recipe(schedule=Cosine())
    assert notes(free, with_settings(free, shorter), shorter) == []


def test_the_list_comes_back_from_toml_and_is_no_part_of_the_hash():
    assert from_toml(to_toml(PLANNED)) == PLANNED
    assert "derived" not in to_toml(Recipe())
    assert recipe_hash(PLANNED) == recipe_hash(dataclasses.replace(PLANNED, derived=()))


@pytest.mark.parametrize("value", ['"schedule.warmup"', '["schedule.warm"]', "[3]", '["model.preset"]', '["name"]'])
def test_a_list_that_names_no_settings_is_refused_in_one_line(value):
    with pytest.raises(LabError, match="derived can't be") as refused:
        from_toml(f"derived = {value}\n")
    assert "\n" not in str(refused.value)


def test_another_split_leaves_the_documents_of_the_first_one():
    base = load_recipe("base-small")
    assert base.data.valid_documents != Data().valid_documents
    assert with_settings(base, {"data.split": "tail"}).data.valid_documents == Data().valid_documents
    assert with_settings(base, {"data.split": "first"}).data == base.data
    assert with_settings(base, {"data.split": "tail", "data.valid_documents": 9}).data.valid_documents == 9
