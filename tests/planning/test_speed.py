"""The speed of models that weren't measured."""

from __future__ import annotations

import numpy as np
import pytest

from lmlab import LabError
from lmlab.hardware.cards import card_named
from lmlab.model.cost import flops_per_token
from lmlab.planning.inverse import speed as module
from lmlab.planning.inverse.shapes import shapes_like
from lmlab.planning.inverse.speed import (
    LONGEST_STEP_FLOPS,
    MeasuredSpeed,
    SpeedPoint,
    card_speed,
    measure_speed,
    probed_recipes,
)
from lmlab.recipe import load_recipe, override
from lmlab.training.policy import choose_policy

RECIPE = override(
    load_recipe("shakespeare-cpu"), {"train.device": "cpu", "train.engine": "torch", "train.threads": "1"}
)


def operations(recipe) -> float:
    return flops_per_token(recipe.model, 65).training


def test_a_measured_size_is_given_back_and_those_between_lie_between():
    narrow, wide = shapes_like(RECIPE)[0], shapes_like(RECIPE)[6]
    points = (
        SpeedPoint(flops_a_token=operations(narrow), achieved=50e9),
        SpeedPoint(flops_a_token=operations(wide), achieved=150e9),
    )
    speed = MeasuredSpeed(points=points, vocabulary=65)
    assert speed(narrow).value == pytest.approx(50e9 / operations(narrow))
    assert speed(narrow).evidence == "measured"
    between = speed(RECIPE)
    assert between.evidence == "fitted"
    assert 50e9 < between.value * operations(RECIPE) < 150e9


def test_beyond_what_was_measured_the_interval_widens_and_says_so():
    speed = MeasuredSpeed(points=(SpeedPoint(flops_a_token=operations(RECIPE), achieved=100e9),), vocabulary=65)
    near, far = speed(shapes_like(RECIPE)[6]), speed(shapes_like(RECIPE)[-1])
    assert near.evidence == far.evidence == "extrapolated"
    assert far.high / far.low > near.high / near.low > 1.2
    assert "times beyond the sizes that were measured" in far.alarm
    assert far.value * operations(shapes_like(RECIPE)[-1]) == pytest.approx(100e9)


def test_probes_are_of_several_sizes_that_can_be_afforded():
    probed = probed_recipes(RECIPE, 65)
    assert RECIPE.model in [one.model for one in probed]
    assert len(probed) >= 3
    for one in probed:
        step = operations(one) * one.model.context * one.train.batch
        assert step <= LONGEST_STEP_FLOPS or one.train.batch == 1


def test_a_large_recipe_is_measured_at_its_own_size_or_below():
    large = override(
        RECIPE, {"model.width": "1024", "model.layers": "24", "model.context": "1024", "model.heads": "16"}
    )
    assert max(operations(one) for one in probed_recipes(large, 50_257)) <= operations(large)


def test_real_steps_are_taken_once_and_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "SIZES", (0.1, 1.0))
    monkeypatch.setattr(module, "TIMED_STEPS", 1)
    monkeypatch.setattr("lmlab.planning.trials.store.is_busy", lambda: False)  # whatever runs beside the tests
    tokens = np.arange(5_000) % 65
    first = measure_speed(RECIPE, choose_policy(RECIPE), tokens, 65)
    assert all(1e7 < point.achieved < 1e14 for point in first.points)

    def never(*arguments):
        raise AssertionError("measured again")

    monkeypatch.setattr(module, "probe", never)
    assert measure_speed(RECIPE, choose_policy(RECIPE), tokens, 65) == first


def test_what_does_not_fit_into_memory_is_not_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    tried = []

    def note(recipe, *others):
        tried.append(recipe.model.width)
        return [0.01] * 8, 0

    monkeypatch.setattr(module, "probe", note)
    tokens, policy = np.arange(5_000) % 65, choose_policy(RECIPE)
    found = measure_speed(RECIPE, policy, tokens, 65, lambda one: one.model.width <= 128)
    assert max(tried) == 128 and len(found.points) == len(tried)
    with pytest.raises(LabError, match="wide fits into memory"):
        measure_speed(RECIPE, policy, tokens, 65, lambda one: False)


def test_a_card_gives_published_rates_and_refuses_what_it_lacks():
    small = override(RECIPE, {"model.width": "768", "model.layers": "12", "model.heads": "12", "model.context": "1024"})
    eager = override(small, {"train.compile": "off", "train.precision": "fp16", "model.tied": "false"})
    rate = card_speed(card_named("rtx3090"), 50_257)(eager)
    assert rate.holds(19_921)
    assert rate.evidence == "published"
    assert card_speed(card_named("rtx3090"), 50_257)(small).value > rate.value  # compiled
    with pytest.raises(LabError, match="t4 has no bf16"):
        card_speed(card_named("t4"), 65)(override(RECIPE, {"train.precision": "bf16"}))


def test_a_card_waits_for_its_launches_where_a_step_is_small():
    rate = card_speed(card_named("h100"), 65)
    few, many = rate(override(RECIPE, {"train.batch": "1"})), rate(override(RECIPE, {"train.batch": "4096"}))
    assert few.value < 0.01 * many.value
    # 4 layers, head and embeddings, 40 compiled kernels each at 5 us: 1.2 ms a step at least
    assert 64 / few.value >= 0.0012
