"""A plan for a card that isn't here against a published training on one."""

from __future__ import annotations

import dataclasses

import pytest

from lmlab.hardware.cards import card_named
from lmlab.planning.cards.on_card import plan_for_card
from lmlab.planning.cards.price import price_in
from lmlab.planning.inverse.resources import resources_on
from lmlab.planning.inverse.search import CorpusFacts
from lmlab.recipe import load_recipe, override

# G. Thomas: GPT-2 small's shape on one RTX 3090, 16 x 6 sequences a step, 3.26e9 tokens in 155,402 s.
SETTINGS = {
    **{"model.layers": 12, "model.heads": 12, "model.width": 768, "model.context": 1024, "model.tied": False},
    **{
        "train.batch": 96,
        "train.micro_batch": 6,
        "train.steps": 33_164,
        "train.compile": "off",
        "train.precision": "fp16",
    },
    "evaluate.every": 500,
}
RECIPE = override(load_recipe("shakespeare-gpu"), SETTINGS)
CORPUS = CorpusFacts(train_tokens=3_260_190_720, valid_tokens=19_660_800, vocabulary=50_257)
CARD = card_named("rtx3090")


def planned(recipe=RECIPE, price=None):
    return plan_for_card(recipe, recipe.train.steps, CORPUS, CARD, resources_on(CARD, 50_257), price)


def test_a_published_training_took_what_the_plan_says():
    found = planned()
    assert found.position.tokens == pytest.approx(3_260_190_720, rel=1e-4)
    assert found.seconds.holds(155_402) and found.tokens_per_second.holds(20_979)
    assert found.seconds.evidence == "published"
    assert found.memory < found.memory_limit


def test_evaluations_take_what_the_recipe_lets_them():
    often = dataclasses.replace(RECIPE, evaluate=dataclasses.replace(RECIPE.evaluate, share=0.5))
    training = planned().position.tokens / planned().tokens_per_second.value
    assert planned().seconds.value == pytest.approx(1.05 * training, rel=0.01)
    # An evaluation is the whole split at most: 68 of them and one at the end, a third of the arithmetic.
    whole = (68 * (19_660_800 + 65_536) + 19_660_800) / 3 / planned().tokens_per_second.value
    assert planned(often).seconds.value == pytest.approx(training + whole, rel=0.001)


def test_the_price_goes_with_the_time():
    found = planned(price=price_in("0.25USD/h"))
    assert found.cost is not None and found.cost.value == pytest.approx(found.seconds.value / 3600 * 0.25)
    assert found.lines()[-1].endswith(f"{found.cost.value:.2f} USD ({found.cost.low:.2f} to {found.cost.high:.2f})")
    assert found.to_json()["currency"] == "USD"
    electricity = planned(price=price_in("0.30/kWh")).cost
    assert electricity is not None and electricity.value == pytest.approx(found.seconds.value * 0.8 * 350 / 3.6e6 * 0.3)
