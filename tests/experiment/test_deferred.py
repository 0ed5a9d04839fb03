"""A training whose updates are launched before loss and norm are read ends as one that waits for them: every bit, line and event.

A GPU is what deferring is for; here a CPU defers too, where a launched step is computed at once and its numbers are read as late.
"""

import contextlib
import types

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps as checkpoint_steps
from lmlab.cli import main
from lmlab.experiment.proving import prove
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.hardware.memory import OutOfMemory
from lmlab.recipe import override
from lmlab.runs import open_run
from lmlab.runs.black_boxes import black_box_steps, read_black_box
from lmlab.training import deferred, loop
from lmlab.training.computation import TorchComputation
from lmlab.training.display import Quiet
from lmlab.training.signals import StopRequests
from lmlab.training.step import TrainingStep
from tests.stopping import KillAt, Killed, StopAt

VOLATILE = {"id", "segment", "time", "tokens_per_second", "mfu", "mfu_datasheet", "seconds"}
OBSERVED = {"weights_step", "layers", "texts"}
"""What a black box observes with weights that are one or two updates later."""


@pytest.fixture
def recipe(small_recipe):
    """12 steps with dropout and accumulation, checkpoints every 4, evaluations and samples every 5, and lines every 3."""
    settings = {
        **{"train.engine": "torch", "train.micro_batch": "2", "model.dropout": "0.1", "optim.clip": "0.5"},
        **{"evaluate.prompts": "The", "evaluate.sample_tokens": "4"},
    }
    return override(small_recipe, settings)


@pytest.fixture
def launches(monkeypatch):
    """The steps that were launched."""
    launch, steps = TrainingStep.launch, []

    def noting(self, step, cursor):
        steps.append(step)
        return launch(self, step, cursor)

    monkeypatch.setattr(TrainingStep, "launch", noting)
    return steps


@pytest.fixture
def both(tmp_path, launches):
    """both(recipe): the runs of a waiting and of a deferred training, and the errors that ended them ("": none)."""

    def trained(recipe):
        runs, errors = [], []
        for name, devices in (("waiting", ("cuda",)), ("deferred", ("cuda", "cpu"))):
            launches.clear()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(deferred, "DEVICES", devices)
                try:
                    train(recipe, run=name, runs=tmp_path, display=Quiet(), say=lambda line: None)
                    errors.append("")
                except LabError as error:
                    errors.append(str(error))
            runs.append(open_run(name, tmp_path)[0])
            assert bool(launches) == (name == "deferred")
        return *runs, *errors

    return trained


@pytest.fixture
def deferring(monkeypatch):
    monkeypatch.setattr(deferred, "DEVICES", ("cuda", "cpu"))


@pytest.fixture
def broken(monkeypatch):
    """broken(step, ...): the gradient of these steps is NaN, or their loss infinite where `where` is loss."""
    backward = TorchComputation._backward

    def plant(*steps, where="gradient"):
        def poisoned(self, inputs, targets, counted, step, place):
            loss = backward(self, inputs, targets, counted, step, place)
            if step in steps and where == "gradient":
                self._parameters[0].grad[0, 0] = float("nan")
            return loss * float("inf") if step in steps and where == "loss" else loss

        monkeypatch.setattr(TorchComputation, "_backward", poisoned)

    return plant


def lines(run, file):
    return [{name: value for name, value in line.items() if name not in VOLATILE} for line in run.read_lines(file)]


def states(run, step):
    """A checkpoint's weights, its optimizer's state, and its state without times and the lengths of lines that have times."""
    checkpoint = find(run.checkpoints, str(step))[0]
    state = {
        name: value for name, value in checkpoint.state.items() if not name.endswith("seconds") and name != "journal"
    }
    return checkpoint.tensors("weights"), checkpoint.tensors("optimizer"), state


def assert_same_checkpoint(one, other, step, but=()):
    (*tensors, state), (*others, other_state) = states(one, step), states(other, step)
    assert {name for name in state if state[name] != other_state[name]} <= {*but}
    for ours, theirs in zip(tensors, others, strict=True):
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours), step


def assert_same(one, other):
    """Everything that both runs stored is equal, but for times and for what black boxes observe."""
    kept = checkpoint_steps(one.checkpoints)
    assert kept and kept == checkpoint_steps(other.checkpoints)
    for step in kept:
        assert_same_checkpoint(one, other, step)
    for file in ("metrics", "samples", "events"):
        assert lines(one, file) == lines(other, file), file
    assert black_box_steps(one.folder) == black_box_steps(other.folder)
    for step in black_box_steps(one.folder):
        boxes = [read_black_box(run.folder, step) for run in (one, other)]
        assert boxes[0]["weights_step"] == step - 1 and boxes[1]["weights_step"] in (step, step + 1)
        assert boxes[0].keys() == boxes[1].keys()
        assert all(boxes[0][name] == boxes[1][name] for name in boxes[0].keys() - OBSERVED)


def test_every_checkpoint_line_and_sample_is_bit_for_bit_that_of_a_waiting_training(both, recipe):
    waiting, launched, *errors = both(recipe)
    assert errors == ["", ""] and checkpoint_steps(launched.checkpoints) == [0, 4, 5, 8, 10, 12]
    assert_same(waiting, launched)


@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_step_that_is_not_finite_changes_no_weights_and_is_recorded_as_it_is_by_a_waiting_training(
    both, broken, recipe, where
):
    """Steps in the middle, before a line (2), before a checkpoint (7) and before an evaluation (9, 11), two of them in a row."""
    broken(2, 6, 7, 9, 11, where=where)
    waiting, launched, *errors = both(recipe)
    assert errors == ["", ""]
    assert_same(waiting, launched)
    events = [line for line in lines(launched, "events") if line["kind"] == "skipped_update"]
    assert [(line["step"], line["cursor"]) for line in events] == [(step + 1, step * 4) for step in (2, 6, 7, 9, 11)]
    weights, _, state = states(launched, 12)
    assert all(tensor.isfinite().all() for tensor in weights.values()) and state["skipped_in_a_row"] == 1


@pytest.mark.parametrize(("tolerate", "bad", "last"), [(1, (5,), 6), (2, (3, 5, 6), 7), (3, (7, 8, 9, 10), 10)])
def test_a_training_that_diverges_stops_at_the_same_step_with_the_weights_of_the_last_finite_one(
    both, broken, recipe, tolerate, bad, last
):
    """The batches after the last bad one are finite: an update of theirs would be seen."""
    broken(*bad)
    waiting, launched, *errors = both(override(recipe, {"train.tolerate": str(tolerate)}))
    assert errors[0] == errors[1] and f"stopped at step {last}" in errors[0]
    assert checkpoint_steps(launched.checkpoints)[-1] == last
    assert_same(waiting, launched)


def test_a_spike_is_noted_with_its_own_batch_and_the_box_says_which_weights_it_shows(
    both, recipe, monkeypatch, tmp_path, capsys
):
    honest, cursors = TrainingStep.batch, [4 * 36, 4 * 39]

    def poisoned(self, cursor):
        inputs, targets = honest(self, cursor)
        rarest = np.argsort(np.bincount(self.tokens), kind="stable")[0]
        return inputs, np.full_like(targets, rarest) if cursor in cursors else targets

    monkeypatch.setattr(TrainingStep, "batch", poisoned)
    steps = {"train.steps": "42", "train.checkpoint_every": "10", "evaluate.every": "20"}
    waiting, launched, *errors = both(override(recipe, steps))
    assert errors == ["", ""]
    assert_same(waiting, launched)
    assert [line["cursor"] for line in lines(launched, "events") if line["kind"] == "spike"] == cursors
    # The next step was launched by then, but for the last step before a checkpoint.
    assert [read_black_box(launched.folder, step)["weights_step"] for step in (37, 40)] == [38, 40]
    for run, words in ((waiting, "from before the update"), (launched, "of step 38, after this step's update")):
        assert main(["events", run.name, "--box", "37", "--runs", str(tmp_path)]) == 0
        assert f"by layer, with the weights {words}," in capsys.readouterr().out


def stop_at(boundary, patch):
    """Request a stop at the boundary of that number, from 0."""
    count, reached = iter(range(100)), loop.Loop._boundary

    def stopping(self):
        if next(count) == boundary:
            self.stop._request_stop("a test")
        return reached(self)

    patch.setattr(loop.Loop, "_boundary", stopping)


@pytest.mark.parametrize("boundary", [1, 3, 4, 7])
def test_a_stop_saves_what_a_waiting_training_saves_and_the_resume_ends_as_if_there_had_been_none(
    recipe, tmp_path, untouched, boundary
):
    runs = []
    for name, devices in (("waiting", ("cuda",)), ("deferred", ("cuda", "cpu"))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deferred, "DEVICES", devices)
            stop_at(boundary, patch)
            runs.append(train(recipe, run=name, runs=tmp_path, display=Quiet()).run)
    assert checkpoint_steps(runs[1].checkpoints)[-1] == boundary
    assert_same(*runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferred, "DEVICES", ("cuda", "cpu"))
        resumed = resume("deferred", runs=tmp_path, display=Quiet()).run
    assert_same_checkpoint(resumed, untouched(recipe).run, 12, but={"saves"})
    assert lines(resumed, "metrics") == lines(untouched(recipe).run, "metrics")


def test_a_signal_stops_a_step_after_the_one_that_is_shown(recipe, tmp_path, deferring):
    train(recipe, run="stopped", runs=tmp_path, display=StopAt(6))
    assert checkpoint_steps(open_run("stopped", tmp_path)[0].checkpoints)[-1] == 7


def test_a_killed_training_that_is_resumed_ends_as_if_it_had_not_been(recipe, tmp_path, deferring, untouched, launches):
    with contextlib.suppress(Killed):
        train(recipe, run="killed", runs=tmp_path, display=KillAt(7))
    assert launches[-1] == 7, "the eighth step was launched"
    resumed = resume("killed", runs=tmp_path, display=Quiet()).run
    assert_same_checkpoint(resumed, untouched(recipe).run, 12, but={"saves"})
    for file in ("metrics", "samples"):
        assert lines(resumed, file) == lines(untouched(recipe).run, file)


def test_a_replay_waits_and_proves_a_deferred_training(recipe, tmp_path, deferring, launches):
    train(recipe, run="whole", runs=tmp_path, display=Quiet())
    launches.clear()
    proof = prove("whole@5", runs=tmp_path, say=lambda line: None)
    assert proof.difference is None and (proof.first, proof.last) == (5, 8) and proof.tensors
    assert not launches


def test_memory_that_runs_out_in_a_launch_leaves_the_step_before_recorded(recipe, tmp_path, deferring, monkeypatch):
    backward = TorchComputation._backward

    def grown(self, inputs, targets, counted, step, place):
        if step == 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return backward(self, inputs, targets, counted, step, place)

    monkeypatch.setattr(TorchComputation, "_backward", grown)
    with pytest.raises(OutOfMemory, match="out of memory after step 6 .*the checkpoint of step 5 is kept"):
        train(recipe, run="grown", runs=tmp_path, display=Quiet())
    run = open_run("grown", tmp_path)[0]
    assert [line["step"] for line in lines(run, "metrics") if line["kind"] == "train"] == [3, 6]


def test_an_error_of_the_device_that_surfaces_late_ends_the_training_and_the_resume_is_exact(
    recipe, tmp_path, deferring, monkeypatch, untouched
):
    launch = TrainingStep.launch

    def failing(self, step, cursor):
        def read():
            raise RuntimeError("CUDA error: unspecified launch failure")

        return read if step == 6 else launch(self, step, cursor)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "launch", failing)
        with pytest.raises(RuntimeError, match="unspecified launch failure"):
            train(recipe, run="failed", runs=tmp_path, display=Quiet())
    assert checkpoint_steps(open_run("failed", tmp_path)[0].checkpoints)[-1] == 5
    resumed = resume("failed", runs=tmp_path, display=Quiet()).run
    assert_same_checkpoint(resumed, untouched(recipe).run, 12, but={"saves"})


def test_the_time_of_steps_is_that_between_their_numbers_without_pauses_evaluations_and_saves(
    recipe, tmp_path, deferring, monkeypatch
):
    """By a clock that only these move: 1 s to launch a step, 2 s to wait for its numbers, 7 s to show one, 100 s for all else."""
    clock = types.SimpleNamespace(now=0.0)
    launch, stopping = TrainingStep.launch, StopRequests.stopping

    def launched(self, step, cursor):
        clock.now += 1
        read = launch(self, step, cursor)

        def later():
            clock.now += 2
            return read()

        return later

    def paused(self):
        clock.now += 100
        return stopping(self)

    class Slow(Quiet):
        shown: list[int] = []

        def progress(self, now, logged):
            self.shown.append(now.step)
            clock.now += 7

        def note(self, text):
            clock.now += 100  # within an evaluation

    monkeypatch.setattr(TrainingStep, "launch", launched)
    monkeypatch.setattr(StopRequests, "stopping", paused)
    monkeypatch.setattr(
        loop, "time", types.SimpleNamespace(perf_counter=lambda: clock.now, monotonic=lambda: clock.now)
    )
    run = train(recipe, runs=tmp_path, display=Slow()).run
    # Each display beside a launched step counts: not those of steps 4, 5, 8, 10 and 12, at whose boundaries something is saved.
    beside = [step for step in Slow.shown if step not in (4, 5, 8, 10, 12)]
    assert states(run, 12) and find(run.checkpoints, "12")[0].state["train_seconds"] == 12 * 3 + len(beside) * 7
