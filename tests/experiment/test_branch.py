"""A branch starts from another run's checkpoint and remembers it."""

import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.experiment.listing import row_of
from lmlab.experiment.parent import parent_of
from lmlab.experiment.reading import read_outcome
from lmlab.experiment.start import train, with_rate
from lmlab.recipe import override


def branch(recipe, tmp_path, reference, changes, **options):
    parent = parent_of(reference, tmp_path)
    return train(override(recipe, changes), runs=tmp_path, parent=parent, **options)


def test_a_branch_with_the_same_settings_ends_as_its_parent_did(small_recipe, tmp_path):
    whole = train(small_recipe, run="parent", runs=tmp_path)
    again = branch(small_recipe, tmp_path, "parent@8", {}, run="again")
    left = find(whole.run.checkpoints, "latest")[0].tensors("weights")
    right = find(again.run.checkpoints, "latest")[0].tensors("weights")
    assert all(torch.equal(left[name], right[name]) for name in left)
    lineage = again.run.origin()["parent"]
    assert (lineage["id"], lineage["step"]) == (whole.run.id, 8)
    assert again.summary["data_used"]["cursor"] == [8 * 4, 12 * 4]
    speed, seconds = again.summary["score"]["tokens_per_second"]["measured"], again.summary["seconds"]["train"]
    assert speed * seconds == pytest.approx(4 * 4 * 16), "the parent's tokens are no part of the branch's speed"
    row, before = row_of(again.run), row_of(whole.run)
    assert (row.tokens, before.tokens) == (4 * 4 * 16, 12 * 4 * 16)
    assert row.epochs == pytest.approx(before.epochs / 3)
    assert read_outcome(again.run).own_steps == 4 and read_outcome(again.run).step_seconds == pytest.approx(seconds / 4)


@pytest.mark.parametrize("which", ["parent@init", "parent@best", "parent@latest", "parent@4", "parent"])
def test_every_kind_of_checkpoint_can_be_branched_from(small_recipe, tmp_path, which):
    train(small_recipe, run="parent", runs=tmp_path)
    outcome = branch(small_recipe, tmp_path, which, {"train.steps": "14"})
    assert outcome.summary["steps"] == 14


@pytest.mark.parametrize(
    ("rate", "words"),
    [("stretch", "is stretched over 20 steps"), ("hold", "holds at its floor"), ("rewarm", "warms up again")],
)
def test_a_branch_says_what_its_learning_rate_does(small_recipe, tmp_path, rate, words):
    train(small_recipe, run="parent", runs=tmp_path)
    parent = parent_of("parent@latest", tmp_path)
    recipe = with_rate(override(small_recipe, {"train.steps": "20"}), parent, rate)
    said = []
    outcome = train(recipe, runs=tmp_path, parent=parent, say=said.append)
    assert any(words in line for line in said), said
    rates = {
        line["step"]: line["learning_rate"] for line in outcome.run.read_lines("metrics") if line["kind"] == "train"
    }
    peak = recipe.optim.lr
    if rate == "hold":
        assert rates[20] == pytest.approx(0.1 * peak)
    if rate == "rewarm":
        assert rates[15] > 0.5 * peak
    if rate == "stretch":
        assert rates[15] < 0.5 * peak


def test_a_branch_onto_other_text_begins_a_stream_of_its_own(small_recipe, tmp_path, tiny_text):
    train(small_recipe, run="parent", runs=tmp_path)
    other = tmp_path / "other.txt"
    other.write_text(tiny_text[::-1])
    outcome = branch(small_recipe, tmp_path, "parent@latest", {"data.corpus": str(other), "train.steps": "5"})
    assert outcome.summary["data_used"]["cursor"] == [0, 20]


def test_a_branch_with_another_shape_or_vocabulary_is_refused_in_one_line(small_recipe, tmp_path):
    train(small_recipe, run="parent", runs=tmp_path)
    with pytest.raises(LabError, match="needs the same model"):
        branch(small_recipe, tmp_path, "parent", {"model.width": "64"})
    (tmp_path / "abc.txt").write_text("abcd " * 500)
    with pytest.raises(LabError, match="vocabulary"):
        branch(small_recipe, tmp_path, "parent", {"data.corpus": str(tmp_path / "abc.txt")})
    with pytest.raises(LabError, match="already at step 12"):
        branch(small_recipe, tmp_path, "parent@latest", {})


def test_the_init_of_a_branch_is_where_it_began(small_recipe, tmp_path):
    from lmlab.experiment.loaded import load

    train(small_recipe, run="parent", runs=tmp_path)
    branch(override(small_recipe, {"train.keep": "1"}), tmp_path, "parent@8", {"train.steps": "20"}, run="child")
    assert load("child@init", runs=tmp_path).step == 8


def test_a_branch_needs_its_parents_data_set_and_not_the_text_that_it_was_made_of(small_recipe, tmp_path):
    from pathlib import Path

    whole = train(small_recipe, run="parent", runs=tmp_path)
    Path(small_recipe.data.corpus).unlink()
    again = branch(small_recipe, tmp_path, "parent@8", {"train.steps": "13"})
    assert again.run.origin()["data_id"] == whole.run.origin()["data_id"]
