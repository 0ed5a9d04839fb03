"""Runs over windows of documents: what they read, how they stop and go on, what they say of it."""

import dataclasses

import numpy as np
import pytest

from lmlab import LabError
from lmlab.data.dataset import find_dataset
from lmlab.data.fresh import training_batch, training_spans, training_split
from lmlab.data.preparation import prepare
from lmlab.data.reading import reading
from lmlab.data.windows import IGNORED_TARGET, split_windows
from lmlab.experiment.black_box import texts
from lmlab.experiment.budgeted import plan_on_card, plan_within
from lmlab.experiment.parent import parent_of
from lmlab.experiment.planned import plan
from lmlab.experiment.proving import prove
from lmlab.experiment.resuming import resume
from lmlab.experiment.scoring import evaluate
from lmlab.experiment.start import train
from lmlab.hardware.cards import card_named
from lmlab.planning.benchmark.bench import QUICK, Bencher
from lmlab.planning.benchmark.combinations import Combination
from lmlab.planning.benchmark.result import BenchRow
from lmlab.planning.inverse.budget import budget_of
from lmlab.planning.inverse.resources import resources_on
from lmlab.planning.next_steps.facts import facts_of
from lmlab.recipe import Context, check, override
from lmlab.runs.units import read_units
from lmlab.training.step import TrainingStep
from tests.experiment.test_exactness import assert_equal_runs
from tests.experiment.test_planned import tried as tried  # the fixture
from tests.stopping import StopAt

DOCUMENTS = {
    "data.tokenizer": "words",
    "data.vocabulary": "24",
    "data.lowercase": "true",
    "data.unknown": "replace",
    "data.separator": "\\n",
    "data.minimum_words": "4",
    "data.split": "hash",
    "data.valid_share": "0.3",
    "data.windows": "documents",
    "data.stride": "2",
    "model.context": "5",
    "train.batch": "24",
    "train.epochs": "2",
    "evaluate.share": "1",
}


@pytest.fixture
def recipe(small_recipe):
    return override(small_recipe, DOCUMENTS)


@pytest.fixture
def read(monkeypatch):
    """The cursor and targets of every batch that a step was given."""
    found = []
    real = TrainingStep.batch

    def batch(step, cursor):
        inputs, targets = real(step, cursor)
        found.append((cursor, targets.copy()))
        return inputs, targets

    monkeypatch.setattr(TrainingStep, "batch", batch)
    return found


@pytest.mark.tried
def test_an_epoch_is_every_window_once_with_a_short_last_batch(recipe, tmp_path, read):
    done = train(recipe, run="one", runs=tmp_path)
    dataset = find_dataset(done.run.origin()["data_id"])
    windows = split_windows(recipe, dataset, "train")
    batches = -(-windows.count // 24)
    assert windows.count % 24, "or there would be no short batch"
    assert done.summary["steps"] == 2 * batches
    taken = [targets for cursor, targets in read if cursor >= 0][-2 * batches :]
    for epoch in (taken[:batches], taken[batches:]):
        rows = [(targets != IGNORED_TARGET).any(axis=1).sum() for targets in epoch]
        assert rows == [24] * (batches - 1) + [windows.count - 24 * (batches - 1)]
        assert sum(int((targets != IGNORED_TARGET).sum()) for targets in epoch) == windows.targets
    assert done.summary["tokens"] == 2 * windows.targets, "padding is no token"
    forecast = done.run.read("forecast.json")
    assert forecast["epochs"] == pytest.approx(2) and forecast["tokens"] == 2 * windows.targets
    assert done.summary["data_used"] | {"windows": "documents", "stride": 2} == done.summary["data_used"]


def test_scores_are_of_every_window_and_the_units_say_how_many_targets_they_have(recipe, tmp_path):
    done = train(recipe, run="one", runs=tmp_path)
    dataset = find_dataset(done.run.origin()["data_id"])
    valid = split_windows(recipe, dataset, "valid")
    assert done.summary["final"]["tokens"] == valid.targets and done.summary["final"]["bits_per_byte"] is None
    units = read_units(done.run.folder / "units-valid.npy")
    assert units["tokens"].sum() == valid.targets and (units["tokens"] > 0).all()
    bits = units["bits"][:, -1]
    assert done.summary["final"]["loss"] == pytest.approx(bits.sum() * np.log(2) / valid.targets)
    again = evaluate("one", runs=tmp_path)
    assert again["tokens"] == valid.targets and again["loss"] == pytest.approx(done.summary["best"]["loss"], rel=1e-5)
    assert 0 < again["majority_accuracy"] < 1
    training = evaluate("one", runs=tmp_path, split="train")
    assert training["tokens"] == split_windows(recipe, dataset, "train").targets


@pytest.mark.parametrize("stop", [2, 9])
def test_a_stopped_and_resumed_run_equals_an_untouched_one(recipe, tmp_path, untouched, stop, engine):
    changes = {"train.engine": engine, "train.micro_batch": "4", "model.dropout": "0.1", "evaluate.prompts": "the old"}
    recipe = override(recipe, changes)
    whole = untouched(recipe)
    stopped = train(recipe, run="stopped", runs=tmp_path, display=StopAt(stop))
    assert stopped.ending.kind == "stopped"
    assert resume("stopped", runs=tmp_path).ending.kind == "finished"
    assert_equal_runs(whole.run, stopped.run)
    assert prove("stopped", runs=tmp_path).equal


def test_a_branch_reads_on_in_its_parents_windows_and_begins_anew_in_others(recipe, tmp_path, read):
    train(recipe, run="parent", runs=tmp_path)
    read.clear()
    longer = override(recipe, {"train.epochs": "3"})
    on = train(longer, run="on", runs=tmp_path, parent=parent_of("parent@8", tmp_path))
    assert on.run.origin()["lineage"][0] | {"windows": "documents", "stride": 2} == on.run.origin()["lineage"][0]
    assert on.summary["data_used"]["cursor"][0] == 8 * 24
    anew = train(
        override(longer, {"data.stride": "3"}), run="anew", runs=tmp_path, parent=parent_of("parent@8", tmp_path)
    )
    assert anew.summary["data_used"]["cursor"][0] == 0 and anew.run.origin()["data_id"] == on.run.origin()["data_id"]


def test_nothing_fresh_is_told_of_a_run_that_read_documents(recipe, tmp_path):
    done = train(recipe, run="parent", runs=tmp_path)
    with pytest.raises(LabError, match="data.fresh isn't possible with windows of documents"):
        check(override(recipe, {"data.fresh": "true"}))
    changes = {"data.corpus": done.run.origin()["data_id"], "data.windows": "stream", "data.stride": "none"}
    fresh = override(
        recipe, {**changes, "data.fresh": "true", "train.epochs": "none", "train.steps": "1", "schedule.warmup": "0"}
    )
    with pytest.raises(LabError, match="in windows of documents") as caught:
        train(fresh, run="child", runs=tmp_path, parent=parent_of("parent", tmp_path))
    assert "\n" not in str(caught.value)


def test_a_black_box_shows_each_sequence_of_a_short_batch_with_its_own_document(recipe, tmp_path):
    done = train(recipe, run="one", runs=tmp_path)
    dataset = find_dataset(done.run.origin()["data_id"])
    windows = split_windows(recipe, dataset, "train")
    last = windows.epoch - 24
    starts, ends = windows.at(recipe.train.seed, last, 24)
    losses = tuple(float(number) for number in range(24))
    found = texts(dataset, starts, ends, losses)
    there = windows.count - last
    assert [one["row"] for one in found] == list(range(there))[::-1]
    for one in found:
        row = one["row"]
        assert one["documents"][0] == one["documents"][1]
        assert one["text"] == dataset.text("train", int(starts[row]), int(ends[row] - starts[row]) - 1)


def test_a_plan_counts_epochs_of_windows_and_no_padding(tried, recipe, tmp_path):
    found = plan(recipe, runs=tmp_path, say=lambda line: None)
    read = reading(recipe, find_dataset(found.data_id))
    assert found.steps == 2 * read.sequences // 24
    assert found.position.epochs == pytest.approx(2) and found.position.tokens == 2 * read.targets
    assert found.duration.tokens_per_second.value == pytest.approx(read.tokens(24) / 0.011)
    assert found.position.exact_flops / found.position.six_nd_flops > 0
    text = "\n".join(found.lines())
    assert "sequences an epoch" in text and f"{read.padding_share:.1%} of their places are padding" in text


CROPPED = {"data.windows": "cropped", "data.stride": "none"}
SHUFFLED = {"data.windows": "stream", "data.stride": "none", "data.order": "documents"}


def test_a_plan_states_what_cropping_loses(tried, recipe, tmp_path):
    recipe = override(recipe, CROPPED)
    found = plan(recipe, runs=tmp_path, say=lambda line: None)
    dataset = find_dataset(found.data_id)
    lengths = np.diff(dataset.document_starts("train")) - 2
    lost = np.maximum(lengths - 5, 0).sum() / lengths.sum()
    assert f"{lost:.2%} of the text lost" in "\n".join(found.lines()) and lost > 0.2
    assert found.position.tokens == 2 * int(np.minimum(lengths + 1, 5).sum())


@pytest.mark.parametrize("changes", [CROPPED, SHUFFLED], ids=["cropped", "order documents"])
def test_other_ways_to_read_documents_are_resumed_exactly(recipe, tmp_path, untouched, changes):
    recipe = override(recipe, {**changes, "evaluate.prompts": "the old"})
    whole = untouched(recipe)
    stopped = train(recipe, run="stopped", runs=tmp_path, display=StopAt(5))
    assert stopped.ending.kind == "stopped"
    assert resume("stopped", runs=tmp_path).ending.kind == "finished"
    assert_equal_runs(whole.run, stopped.run)
    assert prove("stopped", runs=tmp_path).equal
    used = whole.summary["data_used"]
    assert (used["windows"], used["order"]) == (recipe.data.windows, recipe.data.order)
    assert evaluate("stopped", runs=tmp_path)["tokens"] == whole.summary["final"]["tokens"]


def test_nothing_fresh_is_told_of_a_run_that_shuffled_documents(recipe, tmp_path):
    done = train(override(recipe, SHUFFLED), run="parent", runs=tmp_path)
    changes = {"data.corpus": done.run.origin()["data_id"], "data.order": "shuffle", "data.fresh": "true"}
    fresh = override(
        recipe, {**SHUFFLED, **changes, "train.epochs": "none", "train.steps": "1", "schedule.warmup": "0"}
    )
    with pytest.raises(LabError, match="in data.order documents") as caught:
        train(fresh, run="child", runs=tmp_path, parent=parent_of("parent", tmp_path))
    assert "\n" not in str(caught.value)


def test_a_black_box_of_shuffled_documents_shows_a_piece_of_each_sequence(recipe, tmp_path):
    done = train(override(recipe, SHUFFLED), run="one", runs=tmp_path)
    dataset = find_dataset(done.run.origin()["data_id"])
    split = training_split(override(recipe, SHUFFLED), dataset)
    starts, ends = training_spans(split, "documents", 1, 5, 0, 24)
    for one in texts(dataset, starts, ends, (1.0,) * 24):
        assert one["documents"][0] == one["documents"][1]


def test_what_comes_next_counts_passes_over_windows(recipe, tmp_path):
    done = train(recipe, run="one", runs=tmp_path)
    found = facts_of(done.run)
    windows = split_windows(recipe, find_dataset(done.run.origin()["data_id"]), "train")
    assert found.unique_tokens == windows.targets
    assert found.tokens == pytest.approx(2 * windows.targets * found.steps / done.summary["steps"], rel=0.01)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.order": "random"}, "data.order random cuts the text as one stream"),
        ({"data.order": "shifted"}, "data.order shifted cuts the text as one stream"),
        (
            {"data.stride": "6"},
            "data.stride 6 would pass over tokens between windows: expected at most model.context 5",
        ),
        ({"data.windows": "stream"}, "data.stride 2 is for windows of documents"),
    ],
)
def test_impossible_windows_are_refused_in_one_line(recipe, changes, message):
    with pytest.raises(LabError, match=message) as caught:
        check(override(recipe, changes))
    assert "\n" not in str(caught.value)


def counted(recipe, steps):
    """The targets of a recipe's batches, one after the other, as a run of so many steps adds them up."""
    dataset = prepare(recipe.data)
    split, batch, context = training_split(recipe, dataset), recipe.train.batch, recipe.model.context
    batches = (
        training_batch(split, recipe.data.order, recipe.train.seed, context, step * batch, batch)
        for step in range(steps)
    )
    return sum(int((targets != IGNORED_TARGET).sum()) for _, targets in batches)


@pytest.mark.parametrize("model", [None, Context(layers=2, width=8, hidden=12, vector=8, context=5)])
def test_plan_and_bench_count_the_tokens_that_a_run_records(tried, recipe, tmp_path, model):
    recipe = recipe if model is None else dataclasses.replace(recipe, model=model)
    done = train(recipe, run="one", runs=tmp_path)
    steps, tokens = done.summary["steps"], done.summary["tokens"]
    assert tokens == counted(recipe, steps) < steps * 24 * 5
    found = plan(recipe, runs=tmp_path, say=lambda line: None)
    assert (found.steps, found.position.tokens) == (steps, tokens)
    dataset = find_dataset(found.data_id)
    bench = Bencher(recipe, dataset, steps, QUICK).found
    assert bench.recipe_tokens == tokens
    figures = bench.figures(BenchRow(combination=Combination(batch=24, policy=found.policy), rounds=[(0.5, 0.5)]))
    assert figures["tokens_per_second"] == pytest.approx(tokens / steps / 0.5)
    assert figures["recipe_seconds"] == pytest.approx(0.5 * steps)
    facts = facts_of(done.run)
    assert facts.step_tokens == pytest.approx(tokens / steps)
    assert facts.new_steps * facts.step_tokens == pytest.approx(facts.tokens, abs=facts.step_tokens)


def test_a_card_and_a_budget_count_the_tokens_that_a_run_records(recipe, tmp_path):
    card = card_named("t4")
    there = plan_on_card(recipe, card)
    assert there.position.tokens == counted(recipe, there.steps) and there.position.epochs == pytest.approx(2)
    places = there.steps * 24 * 5
    speed = resources_on(card, prepare(recipe.data).vocabulary_size).speed(recipe).value
    assert there.tokens_per_second.value == pytest.approx(speed * there.position.tokens / places)
    found = plan_within(recipe, budget_of(["1h"]), runs=tmp_path, card=card, say=lambda line: None)
    for row in found.table:
        # An epoch of another batch is made whole with another number of empty sequences.
        assert row.tokens == pytest.approx(counted(row.recipe, row.recipe.train.steps), rel=0.03)
        assert row.passes == pytest.approx(row.tokens / reading(recipe, prepare(recipe.data)).targets)
