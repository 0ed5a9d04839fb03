"""`data.fresh`: a run goes on with tokens that no run before it has used, exactly, and says how many are left."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.data.dataset import find_dataset
from lmlab.data.extending import extend
from lmlab.data.windows import IGNORED_TARGET
from lmlab.experiment.lineage import lineage_through
from lmlab.experiment.parent import parent_of
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train, with_rate
from lmlab.recipe import Recipe, override, recipe_hash, science
from lmlab.training.step import TrainingStep
from tests.stopping import KillAt, Killed

FRESH = {"data.fresh": "true"}


@pytest.fixture
def read(monkeypatch):
    """Every window of tokens that a step was given, in a list: (inputs, targets) of each sequence. A trial would add its own."""
    found = []
    real = TrainingStep.batch

    def batch(step, cursor):
        inputs, targets = real(step, cursor)
        found.extend(zip(inputs.copy(), targets.copy(), strict=True))
        return inputs, targets

    monkeypatch.setattr(TrainingStep, "batch", batch)
    return found


@pytest.fixture
def numbered(small_recipe, tmp_path):
    """A text of which any nine characters stand in one place only: the numbers from 0 to 899."""
    path = tmp_path / "numbered.txt"
    path.write_text("".join(f"{number:03d}," for number in range(900)))
    return override(small_recipe, {"data.corpus": str(path), "train.engine": "torch"})


def branch(recipe, tmp_path, reference, changes=None, **options):
    parent = parent_of(reference, tmp_path)
    return train(override(recipe, changes or FRESH), runs=tmp_path, parent=parent, **options)


def places(windows, tokens):
    """The places in the split of every token in these windows; each window's text is found once in it."""
    text = bytes(np.asarray(tokens, dtype=np.uint8))
    found = []
    for inputs, targets in windows:
        targets = targets[targets != IGNORED_TARGET]
        whole = bytes(np.append(inputs[: len(targets)], targets[-1]).astype(np.uint8))
        assert text.count(whole) == 1
        first = text.index(whole)
        found += range(first, first + len(whole))
    return set(found)


@pytest.mark.parametrize("order", ["shuffle", "shifted", "random"])
def test_three_generations_read_tokens_that_none_before_them_read(numbered, tmp_path, read, order):
    recipe = override(numbered, {"data.order": order, "train.steps": "10"})
    seen, said = [], []
    first = train(recipe, run="g0", runs=tmp_path)
    tokens = find_dataset(first.run.origin()["data_id"]).tokens("train")
    seen.append(places(read, tokens))
    for generation in (1, 2, 3):
        read.clear()
        said.clear()
        changes = {**FRESH, "train.steps": "8"}
        made = branch(recipe, tmp_path, f"g{generation - 1}", changes, run=f"g{generation}", say=said.append)
        seen.append(places(read, tokens))
        assert not seen[-1] & set().union(*seen[:-1])
        left = len(tokens) - len(set().union(*seen))
        assert made.summary["data_used"]["fresh_left"] == left
        before = f"{left + len(seen[-1]):,} of the {len(tokens):,}"
        assert any(before in line for line in said), said
        assert any(f"uses {len(seen[-1]):,} of them" in line and f"leaves {left:,}" in line for line in said), said
        assert f"fresh tokens left after this run: {left:,}" in said
        assert made.summary["steps"] == 8
    assert [entry["name"] for entry in made.run.origin()["lineage"]] == ["g0", "g1", "g2"]


def test_a_branch_in_the_middle_leaves_out_only_what_its_parent_had_read_by_then(numbered, tmp_path, read):
    whole = train(numbered, run="parent", runs=tmp_path)
    tokens = find_dataset(whole.run.origin()["data_id"]).tokens("train")
    by_then, later = places(read[: 4 * 4], tokens), places(read[4 * 4 :], tokens)
    read.clear()
    branch(numbered, tmp_path, "parent@4", {**FRESH, "train.epochs": "1"})
    found = places(read, tokens)
    assert not found & by_then
    assert len(found & later) > 0.8 * len(later)


@pytest.mark.parametrize("stop", [1, 10])
def test_a_fresh_run_that_is_killed_and_resumed_equals_an_untouched_one(numbered, tmp_path, stop, engine):
    recipe = override(numbered, {"train.engine": engine, "model.dropout": "0.1"})
    train(recipe, run="parent", runs=tmp_path)
    whole = branch(recipe, tmp_path, "parent@8", run="whole")
    with pytest.raises(Killed):
        branch(recipe, tmp_path, "parent@8", run="killed", display=KillAt(stop))
    if stop > 4:
        shutil.rmtree(tmp_path / "parent")
    resumed = resume("killed", runs=tmp_path)
    left, right = (find(one.run.checkpoints, "latest")[0] for one in (whole, resumed))
    for part in ("weights", "optimizer"):
        ours, theirs = left.tensors(part), right.tensors(part)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert resumed.summary["data_used"] == whole.summary["data_used"]
    assert resumed.summary["final"]["loss"] == whole.summary["final"]["loss"]


def test_an_extended_data_set_gives_the_new_text_and_what_was_left_of_the_old(small_recipe, tmp_path, read):
    paths = {name: tmp_path / f"{name}.txt" for name in ("old", "more")}
    random = np.random.default_rng(1)
    for name, count in (("old", 300), ("more", 200)):
        texts = ["".join(random.choice(list("abcdefghijklmnopqrst"), 20)) for _ in range(count)]
        paths[name].write_text("\n<|endoftext|>\n".join(texts))
    settings = {
        "data.corpus": str(paths["old"]),
        "data.split": "hash",
        "data.valid_share": "0.2",
        "train.engine": "torch",
    }
    recipe = override(small_recipe, settings)
    parent = train(recipe, run="parent", runs=tmp_path)
    old = find_dataset(parent.run.origin()["data_id"])
    extended = extend(old, [str(paths["more"])]).dataset
    tokens = extended.tokens("train")
    used = places(read, tokens)
    read.clear()
    seldom = {"evaluate.every": "1000", "train.checkpoint_every": "1000"}
    changes = {**FRESH, **seldom, "data.corpus": extended.id, "train.epochs": "1"}
    child = branch(recipe, tmp_path, "parent", changes, run="child")
    found = places(read, tokens)
    assert not found & used
    assert len(found | used) > 0.97 * len(tokens)
    assert max(found) > len(old.tokens("train")), "the new text is among it"
    assert child.run.origin()["data_id"] == extended.id
    origin = child.run.origin()
    assert [entry["id"] for entry in origin["data"]] == [extended.id, old.id]
    branch(recipe, tmp_path, "child", {**changes, "train.batch": "1"}, run="rest")
    with pytest.raises(LabError, match=f"used all .* lmlab data extend {extended.id} PATH"):
        branch(recipe, tmp_path, "rest", {**changes, "train.steps": "1"})


def test_what_is_known_of_the_lineage_lies_in_the_run_itself(numbered, tmp_path):
    train(numbered, run="a", runs=tmp_path)
    branch(numbered, tmp_path, "a@8", {"train.steps": "14"}, run="b")
    shutil.rmtree(tmp_path / "a")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(tmp_path / "b", moved / "renamed")
    child = branch(numbered, moved, "renamed", {**FRESH, "train.steps": "3"}, run="c")
    uses = [(entry["name"], entry["step"], entry["cursor"]) for entry in child.run.origin()["lineage"]]
    assert uses == [("a", 8, [0, 32]), ("renamed", 14, [32, 56])]


def forget(run, *names):
    """Make a run one from before its lineage was kept."""
    path = run.folder / "origin.json"
    origin = json.loads(path.read_text())
    for name in names:
        origin.pop(name)
    path.write_text(json.dumps(origin))


def test_older_runs_ask_their_parents_and_say_which_one_is_missing(numbered, tmp_path):
    first = train(numbered, run="a", runs=tmp_path)
    second = branch(numbered, tmp_path, "a@8", {"train.steps": "14"}, run="b")
    known = lineage_through(second.run, find(second.run.checkpoints, "latest")[0])
    for run in (first.run, second.run):
        forget(run, "lineage", "data")
    again = parent_of("b", tmp_path)
    assert lineage_through(again.run, again.checkpoint) == known
    shutil.rmtree(tmp_path / "a" / "checkpoints" / "step-00000008")
    assert lineage_through(again.run, again.checkpoint) == known, (
        "a pruned checkpoint's place in the stream is a product"
    )
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(LabError, match="put a back into") as caught:
        branch(numbered, tmp_path, "b", {**FRESH, "train.steps": "3"})
    assert "\n" not in str(caught.value)
    plain = branch(numbered, tmp_path, "b", {"train.steps": "15"})
    assert plain.run.origin()["lineage"] is None, "only a fresh run needs to know"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"train.steps": "100"}, r"expected at most --train.steps \d+ "),
        ({"train.epochs": "1.5"}, "expected at most --train.epochs 1,"),
        ({"train.batch": "500", "train.steps": "1", "schedule.warmup": "0"}, r"expected at most --train.batch \d+,"),
    ],
)
def test_more_than_one_pass_over_fresh_tokens_is_refused_with_the_most_that_fits(numbered, tmp_path, changes, match):
    train(numbered, run="parent", runs=tmp_path)
    with pytest.raises(LabError, match=match) as caught:
        branch(numbered, tmp_path, "parent", {**FRESH, **changes}, run="child")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "child").exists()
    if "train.steps" in str(caught.value):
        most = str(caught.value).partition("--train.steps ")[2].split()[0]
        whole = branch(numbered, tmp_path, "parent", {**FRESH, "train.epochs": "1"}, run="child")
        assert whole.summary["steps"] == int(most)


def test_the_schedule_of_a_fresh_run_begins_anew_with_its_steps(numbered, tmp_path):
    train(numbered, run="parent", runs=tmp_path)
    parent = parent_of("parent", tmp_path)
    recipe = override(numbered, {**FRESH, "train.steps": "6"})
    for rate in ("stretch", "rewarm"):
        said = []
        outcome = train(with_rate(recipe, parent, rate), runs=tmp_path, parent=parent, say=said.append)
        assert any("the learning rate restarts over 6 steps" in line for line in said), said
        assert outcome.run.read_lines("metrics")[1]["learning_rate"] == pytest.approx(recipe.optim.lr, rel=0.5)
    with pytest.raises(LabError, match="expected stretch or rewarm") as caught:
        with_rate(recipe, parent, "hold")
    assert "\n" not in str(caught.value)


def test_fresh_tokens_need_a_run_to_go_on_from_and_its_own_data(numbered, tmp_path):
    with pytest.raises(LabError, match="--from RUN"):
        train(override(numbered, FRESH), runs=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    train(numbered, run="parent", runs=tmp_path)
    other = tmp_path / "other.txt"
    other.write_text(Path(numbered.data.corpus).read_text()[::-1])
    with pytest.raises(LabError, match="doesn't extend") as caught:
        branch(numbered, tmp_path, "parent", {**FRESH, "data.corpus": str(other)})
    assert "\n" not in str(caught.value)


def test_a_run_that_left_its_first_text_behind_says_so(numbered, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(Path(numbered.data.corpus).read_text()[::-1])
    train(numbered, run="a", runs=tmp_path)
    branch(numbered, tmp_path, "a", {"data.corpus": str(other), "train.steps": "4"}, run="b")
    said = []
    branch(numbered, tmp_path, "b", {"data.corpus": str(other), "train.steps": "3", **FRESH}, say=said.append)
    assert any("a@12 read another data set" in line for line in said), said


def test_another_vocabulary_of_the_same_size_is_refused(numbered, tmp_path):
    train(numbered, run="parent", runs=tmp_path)
    other = tmp_path / "other.txt"
    other.write_text(Path(numbered.data.corpus).read_text().replace(",", ";"))
    with pytest.raises(LabError, match="another tokenizer") as caught:
        branch(numbered, tmp_path, "parent", {"data.corpus": str(other), "train.steps": "3"})
    assert "\n" not in str(caught.value)


def test_a_branch_of_a_fresh_run_that_isn_t_fresh_reads_the_whole_split_again(numbered, tmp_path):
    train(numbered, run="parent", runs=tmp_path)
    branch(numbered, tmp_path, "parent", {**FRESH, "train.steps": "5"}, run="fresh")
    plain = branch(numbered, tmp_path, "fresh", {"train.steps": "3"})
    assert plain.summary["data_used"]["cursor"] == [0, 12]


def test_skipped_updates_leave_their_tokens_fresh(numbered, tmp_path):
    train(numbered, run="parent", runs=tmp_path)
    parent = parent_of("parent", tmp_path)
    whole = lineage_through(parent.run, parent.checkpoint)[-1].use
    parent.checkpoint.state["skipped"] = [[8, 12]]
    use = lineage_through(parent.run, parent.checkpoint)[-1].use
    assert use.sequences() == [(0, 8), (12, 48)]
    assert whole.sequences() == [(0, 48)]


def test_the_hash_of_older_recipes_stays():
    assert "data.fresh" not in science(Recipe())
    assert recipe_hash(override(Recipe(), FRESH)) != recipe_hash(Recipe())
