"""Spikes are found, written down so that a person can read what caused them, and dealt with as the policy says, exactly."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.pointers import pointed
from lmlab.cli import main
from lmlab.experiment import black_box
from lmlab.experiment.proving import prove
from lmlab.experiment.resuming import resume
from lmlab.experiment.session import Session
from lmlab.experiment.start import train
from lmlab.native.engine import Engine
from lmlab.recipe import override
from lmlab.runs import open_run
from lmlab.runs.black_boxes import black_box_steps, read_black_box
from lmlab.training.computation import TorchComputation
from lmlab.training.display import Quiet
from lmlab.training.step import TrainingStep
from tests.stopping import StopAt

GARBAGE = "|~|~^|~`"
POISONED = 51
"""The step, counted from 0, whose batch is poisoned; so many steps are enough to know what is usual."""
STEPS, EVERY = 80, 15
"""Of the run, and of its checkpoints: the one to go back to is that of step 30, since 45 is too near."""
BACK = 30


@pytest.fixture
def small_recipe(engine, small_recipe):
    """80 steps whose losses don't lie far apart."""
    settings = {
        **{"train.engine": engine, "train.steps": str(STEPS), "train.checkpoint_every": str(EVERY), "train.keep": "3"},
        **{"evaluate.every": "40", "train.log_every": "5", "evaluate.prompts": "The", "evaluate.sample_tokens": "5"},
    }
    return override(small_recipe, settings)


@pytest.fixture
def poison(monkeypatch):
    """poison(step, ...): what follows in the batches that untouched runs read at these steps are the rarest letters."""
    honest = TrainingStep.batch

    def plant(*steps):
        def poisoned(self, cursor):
            inputs, targets = honest(self, cursor)
            if cursor // self.recipe.train.batch in steps:
                rarest = np.argsort(np.bincount(self.tokens), kind="stable")[:3]
                targets = rarest[np.arange(targets.size).reshape(targets.shape) % 3]
            return inputs, targets

        monkeypatch.setattr(TrainingStep, "batch", poisoned)

    return plant


def events(run, *kinds):
    return [line for line in run.read_lines("events") if line["kind"] in kinds]


def weights(run, which="latest"):
    return find(run.checkpoints, which)[0].tensors("weights")


def assert_same_end(one, other):
    for part in ("weights", "optimizer"):
        ours, theirs = (find(run.checkpoints, "latest")[0].tensors(part) for run in (one, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), part
    for file in ("metrics", "samples"):
        assert stripped(one, file) == stripped(other, file)


def stripped(run, file):
    volatile = {"id", "segment", "time", "tokens_per_second", "mfu", "mfu_datasheet", "seconds"}
    return [{name: value for name, value in line.items() if name not in volatile} for line in run.read_lines(file)]


def test_without_spikes_none_is_seen(small_recipe, tmp_path):
    outcome = train(small_recipe, runs=tmp_path, display=Quiet())
    assert not events(outcome.run, "spike", "skipped_update", "rewind")
    assert not black_box_steps(outcome.run.folder)


def test_a_spike_is_noted_with_the_text_that_caused_it(small_recipe, tmp_path, poison, capsys):
    poison(POISONED)
    outcome = train(small_recipe, run="noted", runs=tmp_path, display=Quiet())
    spikes = [line for line in events(outcome.run, "spike") if line["step"] == POISONED + 1]
    assert len(spikes) == 1
    (line,) = spikes
    assert (
        line["action"] == "noted"
        and max(line["loss_z"], line["gradient_norm_z"]) > 8
        and line["cursor"] == POISONED * 4
    )
    box = read_black_box(outcome.run.folder, POISONED + 1)
    assert box["batch"] == line["batch"] and len(box["texts"]) == 4
    assert [text["loss"] for text in box["texts"]] == sorted((text["loss"] for text in box["texts"]), reverse=True)
    assert np.mean([text["loss"] for text in box["texts"]]) == pytest.approx(line["loss"], rel=1e-4)
    assert [recent["step"] for recent in box["recent"]] == list(range(POISONED - 15, POISONED + 1))
    blocks = [row for row in box["layers"] if row["layer"].startswith("block")]
    assert len(blocks) == 2 and all(row["gradient_norm"] > row["gradient_norm_before"] for row in blocks)
    norms = [row["gradient_norm"] for row in box["layers"] if "gradient_norm" in row]
    assert math.hypot(*norms) == pytest.approx(line["gradient_norm"], rel=1e-3)
    assert main(["events", "noted", "--runs", str(tmp_path)]) == 0
    assert "spike: loss" in capsys.readouterr().out
    assert main(["events", "noted", "--box", str(POISONED + 1), "--runs", str(tmp_path)]) == 0
    assert "the worst first" in capsys.readouterr().out


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nmore"), MemoryError("of Python")])
def test_a_black_box_that_can_t_observe_the_model_doesn_t_end_the_training(
    small_recipe, tmp_path, poison, capsys, monkeypatch, error
):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(black_box, "observe", fails)
    poison(POISONED)
    outcome = train(small_recipe, run="noted", runs=tmp_path, display=Quiet())
    assert outcome.ending.kind == "finished"
    box = read_black_box(outcome.run.folder, POISONED + 1)
    assert box["failed"] == f"{type(error).__name__}: {str(error).splitlines()[0]}" and box["layers"] == []
    assert len(box["texts"]) == 4 and all(text["text"] and text["loss"] is None for text in box["texts"])
    assert main(["events", "noted", "--box", str(POISONED + 1), "--runs", str(tmp_path)]) == 0
    assert f"not observed: {box['failed']}" in capsys.readouterr().out


def test_a_poisoned_document_is_found_in_the_black_box(small_recipe, tiny_text, tmp_path):
    middle = len(tiny_text) // 2
    (tmp_path / "poisoned.txt").write_text(tiny_text[:middle] + GARBAGE * 8 + tiny_text[middle:], encoding="utf-8")
    settings = {"data.corpus": str(tmp_path / "poisoned.txt"), "train.steps": "200", "train.spike": "6"}
    outcome = train(override(small_recipe, settings), runs=tmp_path, display=Quiet())
    boxes = [read_black_box(outcome.run.folder, step) for step in black_box_steps(outcome.run.folder)]
    assert boxes and all("|~" in box["texts"][0]["text"] for box in boxes)


def test_a_skipped_spike_leaves_the_weights_as_they_were(small_recipe, tmp_path, poison):
    poison(POISONED)
    settings = {"train.on_spike": "skip", "train.keep_every": "1", "train.checkpoint_every": "1"}
    outcome = train(override(small_recipe, {**settings, "train.steps": str(POISONED + 3)}), runs=tmp_path)
    before, after, later = (weights(outcome.run, str(POISONED + more)) for more in (0, 1, 2))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not all(torch.equal(after[name], later[name]) for name in before)
    (line,) = [line for line in events(outcome.run, "spike") if line["step"] == POISONED + 1]
    assert line["action"] == "skipped"


def test_a_rewind_goes_back_to_a_checkpoint_and_past_the_batches(small_recipe, tmp_path, poison):
    poison(POISONED)
    outcome = train(override(small_recipe, {"train.on_spike": "rewind"}), runs=tmp_path)
    assert outcome.ending.kind == "finished" and outcome.summary["rewinds"] == 1
    (line,) = events(outcome.run, "rewind")
    assert (line["step"], line["from_step"], line["skipped"]) == (BACK, POISONED + 1, [BACK * 4, (POISONED + 1) * 4])
    steps = [entry["step"] for entry in outcome.run.read_lines("metrics") if entry["kind"] == "train"]
    assert steps == list(range(5, STEPS + 1, 5))
    state = find(outcome.run.checkpoints, "latest")[0].state
    assert state["step"] == STEPS and state["cursor"] == (STEPS + POISONED + 1 - BACK) * 4
    discarded = [entry["step"] for entry in outcome.run.read_lines("discarded") if entry["kind"] == "train"]
    assert discarded == list(range(BACK + 5, POISONED + 1, 5))


@pytest.fixture
def scored(monkeypatch):
    """scored(losses): what the evaluations find one after the other, so that it's known which model is the best."""
    honest = Session._evaluate

    def plan(losses):
        left = iter(losses)

        def evaluate(self, state, stop):
            scores = honest(self, state, stop)
            loss = next(left)
            return dataclasses.replace(scores, valid_loss=loss, metrics={**scores.metrics, "valid_loss": loss})

        monkeypatch.setattr(Session, "_evaluate", evaluate)

    return plan


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        pytest.param((5.0, 4.0, 3.0, 1.0, 2.0, 2.5, 2.6, 2.7), (45, 2.0), id="the abandoned line had a better one"),
        pytest.param((5.0, 1.0, 3.0, 0.5, 2.0, 2.5, 2.6, 2.7), (15, 1.0), id="the best is one that had been beaten"),
        pytest.param((5.0, 4.0, 3.0, 1.0, 2.0, 1.5, 2.6, 2.7), (60, 1.5), id="a later one is better than both"),
    ],
)
def test_after_a_rewind_the_best_model_is_that_of_the_line_that_is_kept(
    small_recipe, tmp_path, poison, scored, losses, best
):
    """Evaluations at 0, 15, 30, 45 (abandoned), and after the rewind to 30 at 45, 60, 75 and 80."""
    poison(POISONED)
    scored(losses)
    recipe = override(small_recipe, {"train.on_spike": "rewind", "evaluate.every": str(EVERY), "train.keep": "1"})
    run = train(recipe, run="best", runs=tmp_path, display=Quiet()).run
    lines = {line["step"]: line["valid_loss"] for line in run.read_lines("metrics") if line["kind"] == "evaluation"}
    assert min((loss, step) for step, loss in lines.items()) == best[::-1]
    pointer = pointed(run.checkpoints, "best")
    assert (pointer["step"], pointer["loss"]) == best
    state = find(run.checkpoints, "latest")[0].state
    assert (state["best_step"], state["best_loss"]) == best
    found, warnings = find(run.checkpoints, "best")
    assert found.step == best[0] and not warnings
    # Its weights are those that were scored: a run of the same batches that was never saved over has the same.
    keeping = override(recipe, {"train.keep": "99"})
    scored(losses)
    other = train(keeping, run="keeping", runs=tmp_path, display=Quiet()).run
    assert found.sha256_of("weights") == find(other.checkpoints, str(best[0]))[0].sha256_of("weights")


def test_patience_counts_from_the_state_that_a_rewind_restores(small_recipe, tmp_path, poison, scored):
    poison(POISONED)
    scored((5.0, 4.0, 3.0, 1.0, 2.9, 2.8, 2.7, 2.6))
    settings = {"train.on_spike": "rewind", "evaluate.every": str(EVERY), "train.patience": "2"}
    assert train(override(small_recipe, settings), runs=tmp_path, display=Quiet()).ending.kind == "finished"


@pytest.mark.parametrize("steps", [25, 55])
def test_a_proof_goes_the_way_of_the_run_round_a_spike(small_recipe, tmp_path, poison, steps):
    poison(POISONED)
    recipe = override(small_recipe, {"train.on_spike": "rewind", "train.keep": "9"})
    run = train(recipe, run="proven", runs=tmp_path, display=Quiet()).run
    proof = prove(f"{run.folder}@{EVERY}", steps=steps, say=lambda line: None)
    assert proof.equal and (proof.first, proof.last) == (EVERY, EVERY + steps) and proof.lines >= steps // 5


@pytest.mark.parametrize(
    ("policy", "stops"),
    [
        ("note", (51,)),
        ("skip", (52,)),
        ("skip", (40,)),
        *(("rewind", stops) for stops in ((20,), (46, 51), (53,), (31, 60))),
    ],
)
def test_a_run_that_was_stopped_around_a_spike_ends_as_if_it_had_not_been(
    small_recipe, tmp_path, untouched, poison, policy, stops
):
    poison(POISONED)
    recipe = override(small_recipe, {"train.on_spike": policy, "train.keep": "1"})
    whole = untouched(recipe, beside=f"poisoned at {POISONED}")
    first, *others = stops
    train(recipe, run="stopped", runs=tmp_path, display=StopAt(first))
    for stop in others:
        resume("stopped", runs=tmp_path, display=StopAt(stop))
    resumed = resume("stopped", runs=tmp_path, display=Quiet())
    assert events(whole.run, "spike", "rewind")
    assert_same_end(whole.run, resumed.run)


def test_rewinds_are_bounded(small_recipe, tmp_path, poison):
    # Past the first batch at step 30, so that 43 steps later comes the second; past it at 60, and 14 later the third.
    poison(POISONED, 95, 110)
    recipe = override(small_recipe, {"train.on_spike": "rewind", "train.rewinds": "2", "train.spike": "4"})
    with pytest.raises(
        LabError, match="at step 75: .* after 2 rewinds; its black box is black-boxes/step-00000075.json"
    ):
        train(recipe, run="bounded", runs=tmp_path, display=Quiet())
    run, _ = open_run("bounded", tmp_path)
    assert [line["step"] for line in events(run, "rewind")] == [30, 60]
    # With more of them it goes on from where it was.
    assert resume("bounded", runs=tmp_path, changes={"train.rewinds": "3"}, display=Quiet()).summary["rewinds"] == 3


def test_many_spikes_in_a_row_are_a_new_level_and_not_skipped_for_ever(small_recipe, tmp_path, poison):
    poison(*range(POISONED, 1000))
    recipe = override(small_recipe, {"train.on_spike": "skip", "train.tolerate": "2"})
    outcome = train(recipe, runs=tmp_path, display=Quiet())
    assert [line["action"] for line in events(outcome.run, "spike")][:3] == ["skipped", "skipped", "noted"]
    assert outcome.ending.kind == "finished"


@pytest.fixture(params=[("nan", "gradient"), ("inf", "loss")])
def broken_step(request, monkeypatch):
    """The gradient, or the loss, of one batch isn't finite, whichever engine computes it."""
    bad, where = float(request.param[0]), request.param[1]
    backward, learn, gradients = TorchComputation._backward, Engine.learn, TrainingStep.gradients
    cursors = []

    def noting(self, state):
        cursors.append(state.cursor)
        return gradients(self, state)

    def poisoned_backward(self, *arguments):
        loss = backward(self, *arguments)
        if cursors[-1] == POISONED * 4:
            self._parameters[0].grad[0, 0] = bad if where == "gradient" else 0.0
            return loss * bad if where == "loss" else loss
        return loss

    def poisoned_learn(self, *arguments, **settings):
        loss = learn(self, *arguments, **settings)
        if cursors[-1] == POISONED * 4:
            next(iter(self.gradients.values()))[0, 0] = bad if where == "gradient" else 0.0
            return loss * bad if where == "loss" else loss
        return loss

    monkeypatch.setattr(TrainingStep, "gradients", noting)
    monkeypatch.setattr(TorchComputation, "_backward", poisoned_backward)
    monkeypatch.setattr(Engine, "learn", poisoned_learn)


@pytest.mark.parametrize(
    ("precision", "policy"), [("fp32", "note"), ("fp32", "rewind"), ("bf16", "rewind"), ("fp16", "note")]
)
def test_what_is_not_finite_has_a_black_box_and_never_reaches_the_weights(
    small_recipe, tmp_path, broken_step, policy, precision
):
    if precision != "fp32" and small_recipe.train.engine == "native":
        pytest.skip("the native engine computes in fp32 only")
    recipe = override(small_recipe, {"train.on_spike": policy, "train.precision": precision})
    outcome = train(recipe, runs=tmp_path)
    assert outcome.ending.kind == "finished"
    assert all(tensor.isfinite().all() for tensor in weights(outcome.run).values())
    if precision == "fp16":
        # A too large loss scale can be the cause: it is lowered, and only that.
        assert events(outcome.run, "scale_lowered") and not events(outcome.run, "skipped_update", "rewind")
        return
    (line,) = [line for line in events(outcome.run, "skipped_update", "rewind") if line["loss_z"] is None]
    assert line["kind"] == ("rewind" if policy == "rewind" else "skipped_update")
    assert read_black_box(outcome.run.folder, POISONED + 1)["kind"] == "not finite"
