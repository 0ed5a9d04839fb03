"""A trial that was made before serves the same training again, and no other."""

import dataclasses
import json

import pytest

from lmlab import LabError
from lmlab.data.preparation import prepare
from lmlab.planning.trials import here
from lmlab.planning.trials import stored_trials as tried
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.here import try_here
from lmlab.recipe import load_recipe, override
from lmlab.training.policy import choose_policy

pytestmark = pytest.mark.apart

TRIAL = Measurement(
    micro_batch=4, batch=4, step_seconds=(0.5, 0.6), save_seconds=0.25, checkpoint_bytes=1000, peak_memory_bytes=10**9
)


@pytest.fixture
def case(tiny_text_file, tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(tried, "expected_share", lambda threads: 1.0)
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


def test_what_a_busy_hour_gave_is_tried_again_when_it_is_quieter(case, monkeypatch):
    recipe, policy, dataset = case
    tried.keep_trial(dataclasses.replace(TRIAL, processor_share=0.5), recipe, policy, dataset)
    monkeypatch.setattr(tried, "expected_share", lambda threads: 0.5)
    found = tried.kept_trial(recipe, policy, dataset)
    assert found is not None and found.step_seconds == (0.5, 0.6)
    monkeypatch.setattr(tried, "expected_share", lambda threads: 0.9)
    assert tried.kept_trial(recipe, policy, dataset) is None


def test_what_a_quiet_hour_gave_is_slower_in_a_busy_one(case, monkeypatch):
    recipe, policy, dataset = case
    tried.keep_trial(dataclasses.replace(TRIAL, forward_tokens_per_second=1e4), recipe, policy, dataset)
    monkeypatch.setattr(tried, "expected_share", lambda threads: 0.5)
    found = tried.kept_trial(recipe, policy, dataset)
    assert found is not None and found.step_seconds == (1.0, 1.2) and found.save_seconds == 0.5
    assert found.forward_tokens_per_second == 5e3 and found.processor_share == 0.5
    assert found.peak_memory_bytes == TRIAL.peak_memory_bytes


def test_a_start_uses_the_trial_of_an_earlier_one(case, monkeypatch):
    recipe, policy, dataset = case
    recipe = override(recipe, {"evaluate.prompts": ("t",), "model.layers": "1", "model.width": "32"})
    said = []
    first = try_here(recipe, policy, dataset, said.append)
    assert said == [here.NOTICE]
    assert not first.kept and first.step_seconds and first.peak_memory_bytes
    monkeypatch.setattr(here, "measure", None)
    monkeypatch.setattr(tried, "expected_share", lambda threads: first.processor_share)
    again = try_here(recipe, policy, dataset, said.append)
    assert len(said) == 1
    assert again.kept and again.step_seconds == first.step_seconds


def test_a_run_holds_what_its_own_process_holds_and_what_the_training_adds(case, monkeypatch):
    _, policy, _ = case
    trial = dataclasses.replace(TRIAL, idle_memory_bytes=200, peak_memory_bytes=500, peak_with_earlier_best_bytes=520)
    monkeypatch.setattr(here, "peak_memory_bytes", lambda device: 450)
    monkeypatch.setattr(here, "held_memory_bytes", lambda device: 290)
    found = here.in_this_process(trial, policy)
    assert (found.peak_memory_bytes, found.peak_with_earlier_best_bytes, found.idle_memory_bytes) == (590, 610, 290)
    # What it held before it probed the speed of engines: the code of PyTorch that was loaded for that is in the trial, too.
    assert here.in_this_process(trial, policy, idle_bytes=240).peak_memory_bytes == 540
    # Preparing the data may have taken more than the training does.
    monkeypatch.setattr(here, "peak_memory_bytes", lambda device: 900)
    assert here.in_this_process(trial, policy).peak_memory_bytes == 900
    # Where the system doesn't tell what is held, the trial's own peak is the best there is.
    monkeypatch.setattr(here, "held_memory_bytes", lambda device: 0)
    assert here.in_this_process(trial, policy) == trial


def test_a_trial_on_a_cpu_leaves_nothing_in_the_process_of_the_run(case, monkeypatch):
    recipe, policy, dataset = case
    monkeypatch.setattr(here, "Trial", None)
    asked = []

    def measured(recipe, policy, folder, **options):
        asked.append(options)
        return TRIAL

    monkeypatch.setattr(here, "measure", measured)
    try_here(recipe, policy, dataset)
    assert asked and asked[0]["whole"] and not asked[0]["put_back"]


def test_a_training_that_does_not_run_is_refused_before_it_begins(case, monkeypatch):
    recipe, policy, dataset = case
    failed = Measurement(micro_batch=4, batch=4, failed="out of memory")
    monkeypatch.setattr(here, "measure", lambda *_, **__: failed)
    with pytest.raises(LabError, match="can't be run here: out of memory; try a smaller train.micro_batch"):
        try_here(recipe, policy, dataset)


@pytest.mark.parametrize("held", [10**9, 5 * 10**8 + tried.MOST_IDLE_BYTES])
def test_the_memory_of_a_process_that_did_other_things_is_not_kept(case, held):
    recipe, policy, dataset = case
    held = dataclasses.replace(TRIAL, earlier_peak_bytes=held, peak_memory_bytes=max(10**9, held))
    tried.keep_trial(held, recipe, policy, dataset)
    assert tried.kept_trial(recipe, policy, dataset) is None


def test_a_file_that_is_none_is_passed_over(case):
    recipe, policy, dataset = case
    tried.keep_trial(TRIAL, recipe, policy, dataset)
    path = tried._place(recipe, policy, dataset)
    for value in ({}, [], {"format": 1, "busy": False, "figures": {"step_seconds": []}}):
        path.write_text(json.dumps(value))
        assert tried.kept_trial(recipe, policy, dataset) is None
