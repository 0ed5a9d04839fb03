"""A loss or gradient that is not finite never reaches the weights."""

import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.native.engine import Engine
from lmlab.recipe import override
from lmlab.runs import open_run
from lmlab.training.computation import NativeComputation, TorchComputation
from tests.stopping import StopAt

POISONED = (4, 5, 8)


@pytest.fixture
def small_recipe(engine, small_recipe):
    """The guard is promised whatever computes."""
    return override(small_recipe, {"train.engine": engine})


@pytest.fixture
def poison(monkeypatch):
    """Gradients of some steps become NaN, as a bad batch would make them."""
    backward, learn, gradients = TorchComputation._backward, Engine.learn, NativeComputation.gradients
    steps = []

    def poisoned_backward(self, inputs, targets, counted, step, place):
        loss = backward(self, inputs, targets, counted, step, place)
        if step in POISONED and len(inputs) == self._recipe.train.batch:
            self._parameters[0].grad[0, 0] = float("nan")
        return loss

    def poisoned_gradients(self, inputs, targets, counted, step):
        steps.append(step)
        return gradients(self, inputs, targets, counted, step)

    def poisoned_learn(self, *arguments, **settings):
        loss = learn(self, *arguments, **settings)
        if steps[-1] in POISONED:
            next(iter(self.gradients.values()))[0, 0] = float("nan")
        return loss

    monkeypatch.setattr(TorchComputation, "_backward", poisoned_backward)
    monkeypatch.setattr(NativeComputation, "gradients", poisoned_gradients)
    monkeypatch.setattr(Engine, "learn", poisoned_learn)


def latest(run):
    return find(run.checkpoints, "latest")[0]


def test_poisoned_steps_are_left_out_recorded_and_survived(small_recipe, tmp_path, poison):
    outcome = train(small_recipe, runs=tmp_path)
    assert outcome.ending.kind == "finished"
    assert all(tensor.isfinite().all() for tensor in latest(outcome.run).tensors("weights").values())
    events = [line for line in outcome.run.read_lines("events") if line["kind"] == "skipped_update"]
    assert [line["step"] for line in events] == [step + 1 for step in POISONED]
    assert [line["cursor"] for line in events] == [step * small_recipe.train.batch for step in POISONED]
    assert all(line["gradient_norm"] is None for line in events)
    assert outcome.summary["skipped_updates"] == len(POISONED)


def test_a_skipped_update_leaves_weights_and_optimizer_as_they_were(small_recipe, tmp_path, poison):
    # Steps 4 and 5 are skipped, so the checkpoints around them hold the same weights.
    recipe = override(small_recipe, {"train.checkpoint_every": "2", "train.keep": "20"})
    outcome = train(recipe, runs=tmp_path)
    before, after = (find(outcome.run.checkpoints, step)[0] for step in ("4", "6"))
    for part in ("weights", "optimizer"):
        ours, theirs = before.tensors(part), after.tensors(part)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("stop", [5, 6])
def test_the_guards_state_goes_through_a_stop(small_recipe, tmp_path, untouched, poison, stop):
    whole = untouched(small_recipe, beside="poisoned")
    stopped = train(small_recipe, run="stopped", runs=tmp_path, display=StopAt(stop))
    assert latest(stopped.run).state["skipped_in_a_row"] == stop - 4
    resumed = resume("stopped", runs=tmp_path)
    left, right = latest(whole.run), latest(resumed.run)
    assert left.state["skipped"] == right.state["skipped"]
    ours, theirs = left.tensors("weights"), right.tensors("weights")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_training_that_only_diverges_stops_with_what_to_try(small_recipe, tmp_path):
    recipe = override(small_recipe, {"optim.lr": "1e30", "optim.clip": "0", "train.steps": "40"})
    with pytest.raises(LabError, match="not finite 5 steps in a row.*lower optim.lr"):
        train(recipe, run="wild", runs=tmp_path)
    run, _ = open_run("wild", tmp_path)
    assert latest(run).state["skipped_in_a_row"] == 5
    assert all(tensor.isfinite().all() for tensor in latest(run).tensors("weights").values())


def test_fp16_lowers_its_scale_without_counting_that_as_a_failure(small_recipe, tmp_path, poison):
    recipe = override(small_recipe, {"train.precision": "fp16", "train.tolerate": "1", "train.engine": "torch"})
    outcome = train(recipe, runs=tmp_path)
    assert outcome.ending.kind == "finished"
    assert latest(outcome.run).state["scale"] == 65_536 / 2 ** len(POISONED)
    kinds = [line["kind"] for line in outcome.run.read_lines("events")]
    assert kinds.count("scale_lowered") == len(POISONED) and "skipped_update" not in kinds
