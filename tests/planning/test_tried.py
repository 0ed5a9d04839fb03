"""A trial that was made before serves the same training again, and no other."""

import dataclasses
import json

import pytest

from lmlab.data import prepare
from lmlab.planning import forecast, tried
from lmlab.planning.child import Measurement
from lmlab.planning.forecast import try_here
from lmlab.recipe import load_recipe, override
from lmlab.training.policy import choose_policy

TRIAL = Measurement(
    micro_batch=4, batch=4, step_seconds=(0.5, 0.6), save_seconds=0.25, checkpoint_bytes=1000, peak_memory_bytes=10**9
)


@pytest.fixture
def case(tiny_text_file, tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    settings = {"data.corpus": str(tiny_text_file), "data.split": "tail", "train.batch": "4", "train.engine": "torch"}
    recipe = override(load_recipe("shakespeare-cpu"), settings)
    return recipe, choose_policy(recipe, lambda line: None), prepare(recipe.data)


def test_a_kept_trial_comes_back_as_it_was_for_the_same_training_alone(case):
    recipe, policy, dataset = case
    assert tried.kept_trial(recipe, policy, dataset) is None
    tried.keep_trial(TRIAL, recipe, policy, dataset)
    found = tried.kept_trial(recipe, policy, dataset)
    assert found is not None and found.step_seconds == (0.5, 0.6) and found.peak_memory_bytes == 10**9
    assert found.batch == recipe.train.batch and found.failed is None
    assert tried.kept_trial(override(recipe, {"train.batch": "8"}), policy, dataset) is None
    assert tried.kept_trial(override(recipe, {"model.layers": "5"}), policy, dataset) is None


def test_what_a_busy_hour_gave_is_tried_again_when_it_is_quiet(case, monkeypatch):
    recipe, policy, dataset = case
    monkeypatch.setattr(tried, "load_average", lambda: 99.0)
    tried.keep_trial(TRIAL, recipe, policy, dataset)
    assert tried.kept_trial(recipe, policy, dataset) is not None
    monkeypatch.setattr(tried, "load_average", lambda: 0.0)
    assert tried.kept_trial(recipe, policy, dataset) is None


def test_a_start_uses_the_trial_of_an_earlier_one(case, monkeypatch):
    recipe, policy, dataset = case
    recipe = override(recipe, {"evaluate.prompts": ("t",), "model.layers": "1", "model.width": "32"})
    said = []
    first = try_here(recipe, policy, dataset, said.append)
    assert said == [forecast.NOTICE]
    assert not first.kept and first.step_seconds and first.peak_memory_bytes
    monkeypatch.setattr(forecast, "Trial", None)
    if first.idle_memory_bytes >= first.peak_memory_bytes or first.idle_memory_bytes > tried.MOST_IDLE_BYTES:
        tried.keep_trial(dataclasses.replace(first, idle_memory_bytes=0), recipe, policy, dataset)
    again = try_here(recipe, policy, dataset, said.append)
    assert len(said) == 1
    assert again.kept and again.step_seconds == first.step_seconds
    assert again.peak_memory_bytes == first.peak_memory_bytes


@pytest.mark.parametrize("idle", [10**9, 5 * 10**8 + tried.MOST_IDLE_BYTES])
def test_the_memory_of_a_process_that_did_other_things_is_not_kept(case, idle):
    recipe, policy, dataset = case
    held = dataclasses.replace(TRIAL, idle_memory_bytes=idle, peak_memory_bytes=max(10**9, idle))
    tried.keep_trial(held, recipe, policy, dataset)
    assert tried.kept_trial(recipe, policy, dataset) is None


def test_a_file_that_is_none_is_passed_over(case):
    recipe, policy, dataset = case
    tried.keep_trial(TRIAL, recipe, policy, dataset)
    path = tried._place(recipe, policy, dataset)
    for value in ({}, [], {"format": 1, "busy": False, "figures": {"step_seconds": []}}):
        path.write_text(json.dumps(value))
        assert tried.kept_trial(recipe, policy, dataset) is None
