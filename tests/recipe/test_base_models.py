"""The recipes of a 163M base model: the published counts, and what the recipes differ in."""

import pytest

from lmlab.data.catalogue import CATALOGUE
from lmlab.data.order import windows_in
from lmlab.model.cost import parameters
from lmlab.recipe import differences, load_recipe

PUBLISHED = ("base-163m-fineweb", "base-163m-fineweb-edu", "base-163m-fineweb-edu-more")
TOKENS = 534_200 * 6 * 1024
VALID_TOKENS = 3_200 * 6 * 1024


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_counts(name):
    recipe = load_recipe(name)
    assert parameters(recipe.model, recipe.published_vocabulary)["total"] == 163_009_536
    assert {claim.value for claim in recipe.claims if claim.metric == "parameters"} == {163_009_536}
    read = recipe.train.steps * recipe.train.batch * recipe.model.context
    assert read == TOKENS == 3_282_124_800
    assert "not run here" in next(claim.note for claim in recipe.claims if claim.metric == "valid_loss")


def test_one_pass_reads_every_window_once():
    recipe = load_recipe("base-163m-fineweb")
    assert windows_in(recipe.data.tokens, 1024) == recipe.train.steps * recipe.train.batch
    # The other half begins behind the last target of the first.
    more = load_recipe("base-163m-fineweb-edu-more")
    first = load_recipe("base-163m-fineweb-edu").data.tokens
    assert windows_in(more.data.tokens - first, 1024) == more.train.steps * more.train.batch
    stacked = load_recipe("base-163m-stacked")
    assert windows_in(stacked.data.tokens, 1024) == stacked.train.steps * stacked.train.batch


def test_validation_has_about_as_many_tokens_as_the_published_one():
    hub = CATALOGUE["fineweb"].hub
    assert load_recipe("base-163m-fineweb").data.valid_documents * hub.gpt2_tokens / hub.documents == pytest.approx(
        VALID_TOKENS, rel=0.01
    )


def test_they_differ_in_their_data_alone():
    for name in PUBLISHED[1:]:
        one, other = load_recipe(PUBLISHED[0]), load_recipe(name)
        assert all(setting.startswith("data.") for setting in differences(one, other))
        assert one.data.corpus != other.data.corpus
    assert load_recipe("base-163m-fineweb-edu-more").data.fresh


def test_the_stacked_one_has_what_helped_and_a_larger_batch():
    base, stacked = load_recipe("base-163m-fineweb"), load_recipe("base-163m-stacked")
    assert set(differences(base, stacked)) >= {
        "optim.clip", "model.qkv_bias", "optim.weight_decay", "model.dropout", "optim.lr", "schedule.kind", "train.batch",
    }  # fmt: skip
    assert stacked.train.batch == 16 * stacked.train.micro_batch
    read = stacked.train.steps * stacked.train.batch * 1024
    assert read / 163_009_536 == pytest.approx(20, rel=1e-4)
    assert parameters(stacked.model, 50257)["total"] == 163_009_536 + 12 * 3 * 768


def test_the_small_one_has_gpt2s_form():
    from lmlab.recipe.model import PRESETS

    model = load_recipe("base-small").model
    assert all(getattr(model, field) == value for field, value in PRESETS["gpt2"].items())
