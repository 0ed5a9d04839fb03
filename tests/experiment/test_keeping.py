"""A short run keeps its latest and best checkpoint and its seed: what could be done with the others can be done all the same."""

import shutil

import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.initial import is_noted
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pruning import occupied
from lmlab.cli import main
from lmlab.experiment import keeping
from lmlab.experiment.judging import checkpoint_in
from lmlab.experiment.loaded import load
from lmlab.experiment.parent import parent_of
from lmlab.experiment.proving import prove
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.planning.forecasts.disk import keeps_least
from lmlab.recipe import Recipe, override
from lmlab.runs import open_run
from lmlab.training.display import Quiet

LEAST = {"train.keep": "2"}
"""The default, which the small recipe of these tests is without."""
KINDS = {
    "adamw": {},
    "muon, tables": {"optim.kind": "muon", "model.ngrams": "2,3", "model.ngram_rows": "64", "optim.table_lr": "0.01"},
    "context": {"model.kind": "context", "model.vector": "16", "model.layers": "2", "model.width": "16"},
}


def trained(recipe, folder, name):
    return train(recipe, run=name, runs=folder, display=Quiet(), say=lambda line: None).run


def kind_of(small_recipe, kind):
    if kind != "context":
        return override(small_recipe, {**KINDS[kind], "evaluate.every": "12"})
    fields = ("data.corpus", "data.tokenizer", "data.vocabulary", "data.split", "train.steps", "train.checkpoint_every")
    values = {
        "train.batch": "4",
        "train.threads": "1",
        "train.device": "cpu",
        "evaluate.every": "12",
        "model.context": "16",
    }
    for field in fields:
        section, name = field.split(".")
        value = getattr(getattr(small_recipe, section), name)
        values[field] = "none" if value is None else str(value)
    return override(Recipe(), {**values, **KINDS["context"]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_run_keeps_its_latest_and_best_and_step_0_comes_out_of_its_seed_bit_for_bit(
    engine, small_recipe, tmp_path, kind
):
    recipe = override(kind_of(small_recipe, kind), {"train.engine": engine, "train.keep_finished": "all", **LEAST})
    whole = trained(recipe, tmp_path, "whole")
    least = trained(override(recipe, {"train.keep_finished": "auto"}), tmp_path, "least")
    assert steps(whole.checkpoints)[0] == 0 and len(steps(whole.checkpoints)) >= 3
    assert steps(least.checkpoints) == [12] and occupied(least.checkpoints) < 0.5 * occupied(whole.checkpoints)
    kept, _ = find(whole.checkpoints, "0")
    for which in ("init", "0"):
        drawn, lines = checkpoint_in(least, which)
        assert (drawn.step, drawn.parts, lines) == (0, kept.parts, [])
        for part in kept.parts:
            assert drawn.sha256_of(part) == kept.sha256_of(part)
            one, other = drawn.tensors(part), kept.tensors(part)
            assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert find(least.checkpoints, "latest")[0].sha256_of("weights") == find(whole.checkpoints, "12")[0].sha256_of(
        "weights"
    )
    assert least.summary()["score"]["kept_bytes"]["measured"] == pytest.approx(occupied(least.checkpoints), rel=0.01)


@pytest.fixture
def least(small_recipe, untouched, tmp_path):
    """A copy of a run whose best model is of step 10 of 12."""
    settings = {
        **LEAST,
        "evaluate.every": "10",
        "optim.lr": "0.3",
        "evaluate.prompts": "The",
        "evaluate.sample_tokens": "4",
    }
    shutil.copytree(untouched(override(small_recipe, settings)).run.folder, tmp_path / "least")
    return open_run("least", tmp_path)[0]


def test_all_that_a_run_does_with_its_beginning_works(least, tmp_path, capsys):
    assert 0 not in steps(least.checkpoints) and is_noted(least.checkpoints)
    assert load(f"{least.folder}@init").step == 0
    proof = prove(f"{least.folder}@init", say=lambda line: None)
    assert proof.equal and proof.first == 0 and proof.batches and proof.tensors
    assert prove(str(least.folder), say=lambda line: None).equal, "without a step, from what there is"
    longer = override(least.recipe(), {"train.steps": "14", "optim.lr": "0.01"})
    options = {"runs": tmp_path, "display": Quiet(), "say": lambda line: None}
    child = train(longer, run="child", parent=parent_of("least@init", tmp_path), **options).run
    parent = child.origin()["parent"]
    assert parent["step"] == 0 and parent["weights_sha256"] == checkpoint_in(least, "init")[0].sha256_of("weights")
    assert resume(least, say=lambda line: None).ending.kind == "finished"
    for words in (["sample", "least@init", "--tokens", "3"], ["evaluate", "least@init"], ["evaluate", "least@0"]):
        assert main([*words, "--runs", str(tmp_path)]) == 0


def test_the_best_model_stays_whole_also_where_it_is_another_than_the_latest(small_recipe, tmp_path):
    recipe = override(small_recipe, {**LEAST, "evaluate.every": "4", "optim.lr": "3.0", "schedule.warmup": "0"})
    run = trained(recipe, tmp_path, "worse")
    assert find(run.checkpoints, "best")[0].step == 0 and steps(run.checkpoints) == [0, 12]
    for step in (0, 12):
        assert find(run.checkpoints, str(step))[0].parts == ["weights", "optimizer"]


def test_a_branch_keeps_the_weights_that_it_began_with(least, tmp_path):
    longer = override(least.recipe(), {"train.steps": "20"})
    options = {"runs": tmp_path, "display": Quiet(), "say": lambda line: None}
    child = train(longer, run="child", parent=parent_of("least@latest", tmp_path), **options).run
    assert steps(child.checkpoints)[0] == 12 and not is_noted(child.checkpoints)
    first, _ = checkpoint_in(child, "init")
    assert first.parts == ["weights"] and first.sha256_of("weights") == child.origin()["parent"]["weights_sha256"]


def test_what_other_versions_would_draw_is_not_taken_for_the_beginning(least, monkeypatch):
    def other(model, seed, transfer_from):
        for parameter in model.parameters():
            parameter.data.fill_(0.5)

    monkeypatch.setattr(keeping, "initialise", other)
    with pytest.raises(LabError, match="the weights from seed 1 here are not those that least began with") as caught:
        load(f"{least.folder}@init")
    assert "take another step" in str(caught.value) and "\n" not in str(caught.value)


def test_step_0_stays_where_its_seed_does_not_give_it(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "file_sha256", lambda tensors: "0" * 64)
    run = trained(override(small_recipe, LEAST), tmp_path, "kept")
    assert steps(run.checkpoints) == [0, 12] and not is_noted(run.checkpoints)


@pytest.mark.parametrize(
    ("settings", "seconds", "least"),
    [
        ({}, 599.0, True), ({}, 600.0, False), ({"train.keep": "1"}, 10.0, True), ({"train.keep": "3"}, 10.0, False),
        ({"train.keep_every": "100"}, 10.0, False), ({"train.keep_finished": "all"}, 10.0, False),
        ({"train.keep_finished": "least", "train.keep": "9"}, 1e6, True),
    ],
)  # fmt: skip
def test_which_runs_keep_least_follows_from_their_length_and_what_they_ask_for(settings, seconds, least):
    assert keeps_least(override(Recipe(), settings), seconds) is least


def test_a_step_that_is_not_kept_is_answered_with_those_that_are(least):
    with pytest.raises(
        LabError, match=r"least has no checkpoint of step 4: expected one of 0, 12; .*keep_every"
    ) as caught:
        load(f"{least.folder}@4")
    assert "--train.checkpoint_every 4 --train.keep_every 4" in str(caught.value)
