"""Weights sharded over two processes train as those of one, and their checkpoints are the ordinary ones."""

import os

import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override, to_toml
from lmlab.runs import open_run
from lmlab.training import memory
from lmlab.training.display import Quiet
from lmlab.training.policy import choose_policy
from tests.experiment.test_parallel import TERM, assert_close, assert_two_train_as_one, finished, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="torchrun's rendezvous needs libuv on Windows")


@pytest.fixture
def recipe(small_recipe, tmp_path):
    settings = {"train.steps": "30", "train.batch": "6", "train.engine": "torch", "train.log_every": "1"}
    made = override(small_recipe, {**settings, "evaluate.every": "10", "optim.kind": "adamw", "train.shard": "on"})
    made = override(made, {"evaluate.prompts": ("The ",), "evaluate.sample_tokens": "5"})
    (tmp_path / "recipe.toml").write_text(to_toml(made), encoding="utf-8")
    return made


def assert_near(run, other):
    """Weights and optimizer state are those of the other run, up to the rounding of sums."""
    for part in ("weights", "optimizer"):
        ours, theirs = (find(each.checkpoints, "latest")[0].tensors(part) for each in (run, other))
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].shape == theirs[name].shape
            assert (ours[name] - theirs[name]).abs().max() <= 1e-4 * max(1.0, float(theirs[name].abs().max())), name


def test_sharded_weights_train_as_whole_ones_and_go_on_by_one_process(recipe, tmp_path):
    one = train(recipe, run="one", runs=tmp_path, display=Quiet())
    words = ["train", str(tmp_path / "recipe.toml"), "--run", "two"]
    status, output = finished(start(tmp_path, 2, *words, dies=f"1:update:12:{TERM}"))
    assert "stopped by a request to another rank at step 13, saved" in output, output
    two, _ = open_run("two", tmp_path)
    assert two.read("policy.json")["sharded"] is True
    status, output = finished(start(tmp_path, 2, "resume", "two"))
    assert status == 0, output
    assert_close(two, one.run)
    assert_near(two, one.run)
    assert [line["text"] for line in two.read_lines("samples")] == [
        line["text"] for line in one.run.read_lines("samples")
    ]
    for name in ("final", "best"):
        assert two.summary()[name]["loss"] == pytest.approx(one.summary[name]["loss"], rel=2e-5)
    # Begun by two and continued by one.
    finished(start(tmp_path, 2, "train", str(tmp_path / "recipe.toml"), "--run", "fewer", dies=f"0:update:7:{TERM}"))
    fewer = resume("fewer", runs=tmp_path, display=Quiet()).run
    assert_close(fewer, one.run)
    assert_near(fewer, one.run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"train.micro_batch": "1"},
        {"train.spike": "0.01", "train.on_spike": "rewind", "train.rewinds": "2", "train.checkpoint_every": "5"},
    ],
    ids=["accumulation", "rewinds"],
)
def test_each_kind_of_sharded_training_is_that_of_one_process(recipe, tmp_path, settings):
    assert_two_train_as_one(recipe, tmp_path, settings)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"optim.kind": "muon"}, "only AdamW updates parts of a matrix"),
        ({"model.kind": "context"}, "a recurrence uses its weights step by step"),
        ({"model.ngrams": "2"}, "n-gram tables aren't sharded"),
    ],
)
def test_what_cannot_be_sharded_is_refused_in_one_line(recipe, monkeypatch, settings, said):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LabError) as caught:
        choose_policy(override(recipe, settings))
    assert str(caught.value) == f"train.shard can't be on here: {said}; use --train.shard off, or another setting there"


@pytest.mark.parametrize("gigabytes, sharded", [(1, True), (80, False)])
def test_a_model_that_does_not_fit_on_each_gpu_is_sharded(recipe, monkeypatch, gigabytes, sharded):
    large = {"model.layers": "12", "model.width": "768", "model.context": "1024", "train.shard": "auto"}
    monkeypatch.setattr(memory, "device_memory_bytes", lambda device: gigabytes * 10**9)
    cuda = torch.device("cuda", 0)
    assert memory.choose_sharding(override(recipe, large), cuda, 50_257, 2, 4) == sharded
    assert not memory.choose_sharding(override(recipe, large), cuda, 50_257, 2, 1)
    assert not memory.choose_sharding(override(recipe, large), torch.device("cpu"), 50_257, 4, 4)
