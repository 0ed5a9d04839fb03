"""A recipe's hash covers the science, and nothing else."""

import pytest

from lmlab.recipe import Recipe, differences, load_recipe, override, recipe_hash, science


@pytest.mark.parametrize(
    "change",
    [
        {"train.device": "cuda"},
        {"train.threads": "1"},
        {"train.micro_batch": "4"},
        {"train.precision": "bf16"},
        {"train.compile": "off"},
        {"train.checkpoint_every": "7"},
        {"train.keep": "9"},
        {"data.corpus": "elsewhere.txt"},
        {"evaluate.prompts": "x"},
        {"name": "other"},
    ],
)
def test_policy_paths_names_and_prompts_do_not_change_the_hash(change):
    assert recipe_hash(override(Recipe(), change)) == recipe_hash(Recipe())


@pytest.mark.parametrize(
    "change",
    [
        {"train.seed": "2"},
        {"train.steps": "1001"},
        {"train.batch": "32"},
        {"model.layers": "5"},
        {"optim.lr": "0.002"},
        {"optim.kind": "muon"},
        {"schedule.warmup": "3"},
        {"data.order": "random"},
        {"evaluate.every": "10"},
        {"model.ngrams": "2,3"},
        {"model.ngram_rows": "100"},
        {"optim.table_lr": "0.1"},
        {"optim.transfer_from": "64"},
        {"optim.batch_from": "64"},
        {"schedule.warmup_from": "0.25"},
        {"data.fresh": "true"},
        {"data.minimum_words": "5"},
        {"data.windows": "documents"},
        {"data.stride": "32"},
    ],
)
def test_whatever_decides_the_result_changes_the_hash(change):
    changed = override(Recipe(), change)
    assert recipe_hash(changed) != recipe_hash(Recipe())
    assert set(change) <= set(differences(Recipe(), changed))


def test_the_hash_of_a_shipped_recipe_never_changes_unnoticed():
    # Runs are compared and resumed by this hash: a change here makes every older run another experiment.
    assert (
        recipe_hash(load_recipe("shakespeare-cpu"))
        == "1102488b07aa2670d3386d61fd17ce0bcd9e3cce72658b8461914566a4b1b9ef"
    )


def test_fields_that_came_later_are_left_out_of_the_hash_at_their_defaults():
    recipe = Recipe()
    later = {"model.ngrams", "model.ngram_rows", "optim.table_lr", "optim.transfer_from", "data.fresh"}
    later |= {"data.minimum_words", "data.windows", "data.stride", "optim.batch_from", "schedule.warmup_from"}
    assert not later & set(science(recipe))
    changed = override(recipe, {"model.ngrams": "3"})
    assert later & set(science(changed)) == {"model.ngrams"}
    assert recipe_hash(override(changed, {"model.ngrams": "none"})) == recipe_hash(recipe)
    assert differences(recipe, changed) == {"model.ngrams": ((), (3,))}


def test_claims_are_no_part_of_the_hash():
    import dataclasses

    recipe = load_recipe("stories-10.8m")
    assert recipe.claims
    assert recipe_hash(dataclasses.replace(recipe, claims=())) == recipe_hash(recipe)
