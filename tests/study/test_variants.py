"""Recipes that a search makes from another: shorter, narrower, with other rates."""

import dataclasses

import pytest

from lmlab import LabError
from lmlab.optim.schedule import rate_share
from lmlab.recipe import GPT, WSD, Muon, Recipe, load_recipe, override
from lmlab.recipe.model import Context
from lmlab.study.tune.variants import narrowed, shortened, tuned, with_rate


def test_a_shorter_training_has_the_recipes_schedule_compressed():
    recipe = load_recipe("shakespeare-cpu")
    short = shortened(recipe, 500, 2000, 3)
    assert (short.train.steps, short.train.seed) == (500, recipe.train.seed + 3)
    for step in range(100, 500, 57):
        assert rate_share(short.schedule, 500, step) == pytest.approx(
            rate_share(recipe.schedule, 2000, 4 * step), abs=0.01
        )
    assert short.schedule.warmup == 25
    other = override(Recipe(schedule=WSD(warmup=10, start=5)), {"train.epochs": "2"})
    assert shortened(other, 50, 100, 0).schedule == WSD(warmup=5)
    assert shortened(other, 50, 100, 0).train.epochs is None


def test_all_rates_of_an_optimizer_move_together():
    moved = with_rate(Recipe(optim=Muon(lr=0.02, adam_lr=0.004)), 4.0)
    assert moved.optim == Muon(lr=0.08, adam_lr=0.016)
    assert with_rate(Recipe(optim=Muon(table_lr=0.1)), 0.5).optim.table_lr == 0.05


def test_a_narrower_model_has_fewer_heads_of_the_same_width():
    small = narrowed(Recipe(model=GPT(width=384, heads=6, kv_heads=3, hidden=900))).model
    assert (small.width, small.heads, small.kv_heads, small.hidden) == (128, 2, 1, 300)
    assert narrowed(Recipe(model=GPT(width=256, heads=8))).model.width == 64
    with pytest.raises(LabError, match="model.heads is 5"):
        narrowed(Recipe(model=GPT(width=40, heads=5)))


def test_a_narrower_model_is_scaled_from_the_recipes_width_and_the_tuned_recipe_has_only_another_rate():
    recipe = load_recipe("shakespeare-cpu")
    assert narrowed(recipe).optim.transfer_from == (128,)
    assert narrowed(override(recipe, {"optim.transfer_from": "64"})).optim.transfer_from == (64,)
    found = tuned(recipe, 1.2345)
    assert found.optim == override(recipe, {"optim.lr": "0.0012"}).optim and found.claims == ()
    muon = tuned(Recipe(optim=Muon(lr=0.02, adam_lr=0.004)), 2.0)
    assert muon.optim == Muon(lr=0.04, adam_lr=0.008)


def test_a_narrow_context_model_keeps_layers_and_embedding_and_names_the_size_whose_rate_it_has():
    model = Context(layers=3, width=24, hidden=64, vector=32)
    small = narrowed(Recipe(model=model))
    assert small.model == Context(layers=3, width=24, hidden=16, vector=8)
    assert small.optim.transfer_from == (64, 3, 32)
    with pytest.raises(LabError, match="model.hidden is 64 and model.vector 3: tune the model itself"):
        narrowed(Recipe(model=dataclasses.replace(model, vector=3)))
