"""When patience ends a training, against early stopping written out; and what is the best model meanwhile."""

import dataclasses

import pytest

from lmlab.checkpoint.finding import find
from lmlab.experiment.session import Session
from lmlab.experiment.start import train
from lmlab.recipe import override

LOSSES = [3.0, 2.9, 2.8995, 2.8991, 2.8987, 2.5, 2.4999, 2.4998, 2.4997, 2.0, 1.0, 0.5, 0.4]


def stops_after(losses, patience, minimum_gain):
    """How many evaluations early stopping takes: as torch's and Keras's users write it."""
    last_better, waited = losses[0], 0
    for number, loss in enumerate(losses[1:], start=2):
        if loss < last_better - minimum_gain:
            last_better, waited = loss, 0
        else:
            waited += 1
            if waited >= patience:
                return number
    return len(losses)


@pytest.mark.parametrize(("patience", "gain"), [(3, 0.001), (3, 0.0), (4, 0.001), (1, 0.2), (2, 0.5)])
def test_an_evaluation_that_gains_less_is_no_better_for_patience_but_may_be_the_best(
    small_recipe, tmp_path, monkeypatch, patience, gain
):
    told = iter(LOSSES)
    real = Session._evaluate

    def evaluate(session, state, stop):
        scores = real(session, state, stop)
        loss = next(told)
        return dataclasses.replace(scores, valid_loss=loss, metrics={**scores.metrics, "valid_loss": loss})

    monkeypatch.setattr(Session, "_evaluate", evaluate)
    changes = {"train.patience": str(patience), "train.minimum_gain": str(gain), "evaluate.every": "1"}
    outcome = train(override(small_recipe, changes), run="patient", runs=tmp_path)
    lines = [line for line in outcome.run.read_lines("metrics") if line["kind"] == "evaluation"]
    made = stops_after(LOSSES, patience, gain)
    assert len(lines) == made
    assert outcome.ending.kind == ("patience" if made < len(LOSSES) else "finished")
    if gain and outcome.ending.kind == "patience":
        assert outcome.ending.reason == f"no validation loss better by more than {gain:g} in {patience} evaluations"
    assert find(outcome.run.checkpoints, "best")[0].step == min(range(made), key=lambda place: LOSSES[place])


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_an_update_is_clipped_at_its_own_steps_limit(small_recipe, tmp_path, kind, engine):
    """A limit that changes at step 4 gives the weights of the first limit up to there, and then those of nobody else."""
    own = {
        "train.engine": engine,
        "optim.kind": kind,
        "optim.clip": "0.01",
        "train.steps": "8",
        "train.keep_every": "4",
    }
    changing = {**own, "optim.clip_steps": "4", "optim.clip_then": "0.5"}
    one = train(override(small_recipe, own), run="one", runs=tmp_path).run
    other = train(override(small_recipe, changing), run="other", runs=tmp_path).run
    for step, equal in (("4", True), ("8", False)):
        left, right = (find(run.checkpoints, step)[0].tensors("weights") for run in (one, other))
        assert all((left[name] == right[name]).all() for name in left) == equal
