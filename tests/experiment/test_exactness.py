"""A run that was stopped and continued equals one that was not, to the last bit."""

import signal

import numpy as np
import pytest
import torch

from lmlab.checkpoint.finding import find
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override
from tests.stopping import KillAt, Killed, StopAt

CLOCK = {"time", "tokens_per_second", "mfu", "mfu_datasheet", "seconds", "joules", "id", "segment"}
"""What two runs of one recipe may differ in."""


def lines(run, file):
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in run.read_lines(file)]


def assert_equal_runs(one, other):
    left, _ = find(one.checkpoints, "latest")
    right, _ = find(other.checkpoints, "latest")
    assert left.step == right.step
    for part in ("weights", "optimizer"):
        tensors, others = left.tensors(part), right.tensors(part)
        assert tensors.keys() == others.keys()
        for name in tensors:
            assert torch.equal(tensors[name], others[name]), f"{part} {name}"
    # How often and how long it saved depends on where it was stopped.
    seconds = {"train_seconds", "evaluate_seconds", "save_seconds", "wall_seconds", "saves", "journal"}
    assert {k: v for k, v in left.state.items() if k not in seconds} == {
        k: v for k, v in right.state.items() if k not in seconds
    }
    assert lines(one, "metrics") == lines(other, "metrics")
    assert lines(one, "samples") == lines(other, "samples")
    assert np.array_equal(one.units()["bits"], other.units()["bits"], equal_nan=True)


VARIANTS = {
    "adamw with dropout": {"model.dropout": "0.2"},
    "muon": {"optim.kind": "muon", "model.preset": "modern", "model.dropout": "0.1"},
    "accumulation": {"train.micro_batch": "2", "model.dropout": "0.2"},
    "random order": {"data.order": "random", "model.dropout": "0.2"},
    "fp16 with a scaler": {"train.precision": "fp16"},
    "bf16": {"train.precision": "bf16", "optim.kind": "muon"},
    "patience and prompts": {
        "train.patience": "2",
        "optim.lr": "0.3",
        "evaluate.every": "2",
        "evaluate.prompts": "The ",
    },
    "clipping that widens, and a minimum gain": {
        "optim.clip": "0.05",
        "optim.clip_steps": "3,7",
        "optim.clip_then": "0.2,0",
        "train.patience": "4",
        "train.minimum_gain": "0.05",
        "evaluate.every": "1",
    },
    "n-gram tables": {"optim.kind": "muon", "model.preset": "modern", "model.ngrams": "2,3", "model.ngram_rows": "500"},
    "everything decays": {"optim.decay": "all", "schedule.kind": "wsd", "evaluate.tokens": "100"},
}


@pytest.mark.parametrize("stop", [1, 5, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_and_resumed_run_equals_an_untouched_one(small_recipe, tmp_path, untouched, variant, stop, engine):
    if engine == "native" and "train.precision" in VARIANTS[variant]:
        pytest.skip("the native engine computes in float32")
    recipe = override(small_recipe, {**VARIANTS[variant], "evaluate.sample_tokens": "5", "train.engine": engine})
    whole = untouched(recipe)
    stopped = train(recipe, run="stopped", runs=tmp_path, display=StopAt(stop))
    if whole.summary["steps"] > stop:
        assert stopped.ending.kind == "stopped"
        assert find(stopped.run.checkpoints, "latest")[0].step == stop
        resumed = resume("stopped", runs=tmp_path)
        assert resumed.ending.kind == whole.ending.kind
    assert_equal_runs(whole.run, stopped.run)


def test_a_run_killed_between_checkpoints_repeats_the_lost_steps_exactly(small_recipe, tmp_path, untouched, engine):
    recipe = override(small_recipe, {"train.engine": engine})
    whole = untouched(recipe)
    with pytest.raises(Killed):
        train(recipe, run="killed", runs=tmp_path, display=KillAt(10))
    resumed = resume("killed", runs=tmp_path)
    assert_equal_runs(whole.run, resumed.run)
    discarded = resumed.run.read_lines("discarded")
    assert any(line["step"] == 9 for line in discarded), "what was logged after the checkpoint is kept apart"


def test_two_stops_and_a_second_signal_lose_nothing(small_recipe, tmp_path, untouched):
    whole = untouched(small_recipe)
    train(small_recipe, run="stopped", runs=tmp_path, display=StopAt(3, number=signal.SIGINT))
    resume("stopped", runs=tmp_path, display=StopAt(7))
    resumed = resume("stopped", runs=tmp_path)
    assert_equal_runs(whole.run, resumed.run)
    segments = [line["kind"] for line in resumed.run.read_lines("segments")]
    assert segments == ["start", "resume", "resume"]


def test_accumulated_micro_batches_give_the_gradients_of_the_whole_batch(small_recipe, tmp_path, untouched):
    whole = untouched(small_recipe)
    split = train(override(small_recipe, {"train.micro_batch": "1"}), run="split", runs=tmp_path)
    left, right = (
        find(whole.run.checkpoints, "latest")[0].tensors("weights"),
        find(split.run.checkpoints, "latest")[0].tensors("weights"),
    )
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=2e-4, rtol=1e-2)
    assert whole.summary["final"]["loss"] == pytest.approx(split.summary["final"]["loss"], abs=1e-4)


def test_a_resume_with_another_policy_keeps_the_batches_and_says_that_it_is_not_exact(
    small_recipe, tmp_path, untouched
):
    whole = untouched(small_recipe)
    train(small_recipe, run="stopped", runs=tmp_path, display=StopAt(6))
    said = []
    resumed = resume("stopped", runs=tmp_path, changes={"train.micro_batch": "2"}, say=said.append)
    assert any("not bit for bit" in line for line in said)
    assert resumed.run.read_lines("segments")[-1]["exact"] is False
    assert resumed.summary["final"]["loss"] == pytest.approx(whole.summary["final"]["loss"], abs=1e-4)
    assert resumed.summary["data_used"] == whole.summary["data_used"]
