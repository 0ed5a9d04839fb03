"""The recipes of tuning on conversations against what was published of them."""

import dataclasses

import pytest

from lmlab.data.preparation import prepare
from lmlab.model.cost import parameters
from lmlab.recipe import check, load_recipe
from tests.shared import shared_data

NAMES = ("instruct-1100", "alpaca", "smol-smoltalk")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_of_conversations_and_its_optimizer_begins_anew(name):
    recipe = check(load_recipe(name))
    assert recipe.data.conversations and recipe.train.inherit == "weights" and recipe.train.epochs


@pytest.mark.parametrize("name", ["instruct-1100", "smol-smoltalk"])
def test_parameters_are_the_published_number(name):
    recipe = load_recipe(name)
    claim = next(one for one in recipe.claims if one.metric == "parameters")
    assert parameters(recipe.model, recipe.published_vocabulary)["total"] == claim.value


def test_instruct_1100_reads_the_published_split():
    recipe = load_recipe("instruct-1100")
    corpus = str(shared_data("llms-from-scratch/instruction-data.json"))
    dataset = prepare(dataclasses.replace(recipe.data, corpus=corpus, tokenizer="bytes", vocabulary=None))
    assert [len(dataset.document_starts(split)) - 1 for split in ("train", "test", "valid")] == [935, 110, 55]
