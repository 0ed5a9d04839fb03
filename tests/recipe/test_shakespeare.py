"""The Shakespeare recipes against the counts of symbols, sizes and epochs in their sources."""

import pytest

from lmlab.model.cost import parameters
from lmlab.recipe import load_recipe

CHARACTERS, SYMBOLS = 1_003_854, 65
"""Sizes of the training split (the first 90 %) and of the alphabet: counted in the text, and published with nanoGPT."""


def test_each_character_is_a_token_also_for_the_largest():
    recipe = load_recipe("shakespeare-124m")
    assert (recipe.data.tokenizer, recipe.published_vocabulary) == ("characters", SYMBOLS)
    alphabet = set("\n !$&',-.3:;?" + "abcdefghijklmnopqrstuvwxyz" + "abcdefghijklmnopqrstuvwxyz".upper())
    assert len(alphabet) == SYMBOLS
    assert all(set(prompt) <= alphabet for prompt in recipe.evaluate.prompts), "else they could not be sampled"


def test_its_validation_turns_after_thirty_passes_as_the_source_says():
    recipe = load_recipe("shakespeare-124m")
    [claim] = recipe.claims
    assert (claim.metric, claim.value) == ("turning_step", 2500) and "shakespeare-gpu" in claim.note
    passes = claim.value * recipe.train.batch * recipe.model.context / CHARACTERS
    assert passes == pytest.approx(30.6, abs=0.1)


def test_it_has_gpt_2_smalls_blocks_and_a_small_table():
    recipe = load_recipe("shakespeare-124m")
    width, layers, context = 768, 12, 1024
    # 12 width^2 a block and a gain for each of its two norms; the tied table of symbols, positions, and the last norm.
    expected = layers * (12 * width**2 + 2 * width) + (SYMBOLS + context) * width + width
    assert parameters(recipe.model, SYMBOLS)["total"] == expected == 85_790_208
