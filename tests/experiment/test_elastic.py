"""The same run continued with another policy: the same batches in the same order, and a loss that differs by rounding only."""

import pytest

from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override
from lmlab.training.display import Quiet
from lmlab.training.policy import Policy
from tests.engine import engine_library
from tests.stopping import StopAt

STEPS, STOP = 40, 15
TOLERANCE = 2e-5
"""Relative, of any logged loss in fp32: sums in another order, over 40 steps of a small model."""
LOW_PRECISION = 2e-2
"""The same where one of the two computes in bf16."""


def train_lines(run):
    return [line for line in run.read_lines("metrics") if line["kind"] == "train"]


CHANGES = {
    "micro-batch": ({"train.micro_batch": "2"}, TOLERANCE),
    "threads": ({"train.threads": "2"}, TOLERANCE),
    "engine": ({"train.engine": "native"}, TOLERANCE),
    "precision": ({"train.precision": "bf16"}, LOW_PRECISION),
}


@pytest.mark.parametrize("change", CHANGES)
def test_batches_stay_equal_and_losses_within_the_tolerance(small_recipe, tmp_path, untouched, change):
    changes, tolerance = CHANGES[change]
    if change == "engine":
        engine_library()
    settings = {"train.steps": str(STEPS), "train.batch": "8", "train.engine": "torch", "train.log_every": "1"}
    recipe = override(small_recipe, {**settings, "train.precision": "fp32"})
    whole = untouched(recipe).run
    changed = train(recipe, run="changed", runs=tmp_path, display=StopAt(STOP)).run
    resume("changed", runs=tmp_path, changes=changes, display=Quiet())
    ours, theirs = train_lines(changed), train_lines(whole)
    assert [line["batches"] for line in ours] == [line["batches"] for line in theirs]
    assert len({line["batches"] for line in ours}) == STEPS
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=tolerance)
    assert ours[:STOP] == [{**line, **volatile(ours[number])} for number, line in enumerate(theirs[:STOP])]
    first, second = changed.read_lines("segments")
    assert first["exact"] and not second["exact"] and second["step"] == STOP
    name = next(iter(changes)).removeprefix("train.")
    assert first["policy"][name] != second["policy"][name] and first["torch"] == second["torch"]


def volatile(line):
    return {name: line[name] for name in ("id", "segment", "time", "tokens_per_second", "mfu")}


def test_the_same_policy_again_is_bit_exact(small_recipe, tmp_path, untouched):
    recipe = override(small_recipe, {"train.steps": str(STEPS)})
    whole = untouched(recipe)
    train(recipe, run="again", runs=tmp_path, display=StopAt(STOP))
    again = resume("again", runs=tmp_path, display=Quiet())
    assert [line["exact"] for line in again.run.read_lines("segments")] == [True, True]
    assert again.summary["final"]["loss"] == whole.summary["final"]["loss"]


def test_a_run_whose_sums_vary_continues_with_the_same_policy_and_is_not_called_exact(
    small_recipe, tmp_path, monkeypatch
):
    recipe = override(small_recipe, {"train.steps": str(STEPS)})
    train(recipe, run="varying", runs=tmp_path, display=StopAt(STOP))
    monkeypatch.setattr(Policy, "repeatable", False)
    said = []
    again = resume("varying", runs=tmp_path, display=Quiet(), say=said.append)
    assert [line["exact"] for line in again.run.read_lines("segments")] == [True, False]
    assert any("with the same batches, up to the rounding of sums on cpu" in line for line in said)
