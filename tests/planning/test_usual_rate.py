"""The rate that a plan's third count of FLOPs rests on: other runs' or a card's, never the plan's own trial."""

import dataclasses

import numpy as np
import pytest

from lmlab.hardware.cards import card_named
from lmlab.hardware.datasheet import datasheet_peak
from lmlab.model.cost import flops_per_token
from lmlab.planning.forecasts import usual_rate as module
from lmlab.planning.forecasts.history import Finished, arithmetic_of, machine_of
from lmlab.planning.forecasts.usual_rate import usual_rate
from lmlab.planning.inverse.speed import card_speed
from lmlab.recipe import Recipe, load_recipe, override
from lmlab.training.policy import choose_policy

RECIPE = override(Recipe(), {"train.device": "cpu", "train.engine": "torch", "train.threads": "1"})
POLICY = choose_policy(RECIPE)
FLOPS = flops_per_token(RECIPE.model, 65).training


def run(reached: float, **changes) -> Finished:
    values = {
        "name": "run", "recipe": RECIPE, "data_id": "0", "vocabulary": 65, "unique_tokens": 1, "tokens": 1, "loss": 1.0,
        "score": {},
        "machine": machine_of(POLICY), "arithmetic": arithmetic_of(POLICY), "flops_per_token": FLOPS, "flops_per_second": reached,
        "processor_share": 1.0,
    }  # fmt: skip
    return Finished(**{**values, **changes})


def test_the_rate_is_the_median_of_other_runs_and_their_quantiles_its_interval():
    reached = [20e9, 50e9, 30e9, 40e9, 45e9]
    found = usual_rate(RECIPE, POLICY, 65, [run(value) for value in reached], 100e9)
    assert found.value == pytest.approx(40e9)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(reached, [0.1, 0.9])))
    assert "40.0 GFLOP/s: MFU 40%, the median of 5 finished runs" in found.rests_on


def test_runs_that_say_nothing_of_this_training_do_not_count():
    other = dataclasses.replace(POLICY, threads=7)
    fine = [run(20e9), run(30e9)]
    for one in (
        run(90e9, machine=("another", 1, "cpu", "", "torch")),
        run(90e9, arithmetic=arithmetic_of(other)),
        run(90e9, processor_share=0.5),
        run(90e9, flops_per_token=5 * FLOPS),
    ):
        assert usual_rate(RECIPE, POLICY, 65, [*fine, one], 100e9) is None
    assert usual_rate(RECIPE, POLICY, 65, [*fine, run(90e9, flops_per_token=3 * FLOPS)], 100e9).value == 30e9


def test_without_runs_a_known_card_has_the_rate_of_published_trainings(monkeypatch):
    card = card_named("a100-40")
    monkeypatch.setattr(module, "datasheet_of", lambda policy: datasheet_peak(card, "bf16"))
    recipe = override(load_recipe("shakespeare-gpu"), {"train.precision": "bf16"})
    found = usual_rate(recipe, POLICY, 65, [], 100e12)
    flops = flops_per_token(recipe.model, 65).training
    assert found.value == pytest.approx(card_speed(card, 65)(recipe).value * flops)
    assert "NVIDIA A100 datasheet" in found.rests_on
