"""Adam's square-root rule from one batch to another (arXiv 2205.10287)."""

import pytest

from lmlab import LabError
from lmlab.model.build import build_model
from lmlab.optim.batch import at_batch
from lmlab.optim.build import optimizer_of
from lmlab.recipe import GPT, AdamW, Muon, Recipe, Train, override, recipe_hash


def test_four_times_the_batch_doubles_adams_rates_and_halves_epsilon():
    optim = AdamW(lr=1e-3, table_lr=0.1, eps=1e-8, betas=(0.9, 0.99), weight_decay=0.2, batch_from=16)
    assert at_batch(optim, 64) == AdamW(lr=2e-3, table_lr=0.2, eps=0.5e-8, betas=(0.9, 0.99), weight_decay=0.2)
    assert at_batch(optim, 4) == AdamW(lr=0.5e-3, table_lr=0.05, eps=2e-8, betas=(0.9, 0.99), weight_decay=0.2)


def test_muons_own_rate_stays():
    moved = at_batch(Muon(lr=0.02, adam_lr=4e-3, eps=1e-10, batch_from=10), 90)
    assert (moved.lr, moved.adam_lr, moved.table_lr) == (0.02, pytest.approx(12e-3), None)


def test_without_a_tuned_batch_or_at_it_nothing_changes():
    assert at_batch(AdamW(lr=3e-4), 512) == AdamW(lr=3e-4)
    assert at_batch(AdamW(lr=3e-4, batch_from=512), 512) == AdamW(lr=3e-4)


def test_a_trainings_optimizer_has_the_moved_rate():
    recipe = Recipe(
        model=GPT(layers=1, heads=1, width=8, context=4),
        optim=AdamW(lr=1e-3, batch_from=8),
        train=Train(batch=32),
    )
    optimizer = optimizer_of(build_model(recipe.model, 11), recipe, "cpu")
    assert optimizer.rates() == {"lr": pytest.approx(2e-3)}


def test_it_is_a_setting_like_any_other():
    recipe = override(Recipe(), {"optim.batch_from": "32"})
    assert recipe.optim.batch_from == 32 and recipe_hash(recipe) != recipe_hash(Recipe())
    with pytest.raises(LabError, match="optim.batch_from can't be 0: expected at least 1"):
        override(Recipe(), {"optim.batch_from": "0"})
