"""Rows of hand-made runs, seeds together, conditions and order."""

import dataclasses
import json
import math
import statistics

import pytest

from lmlab import LabError
from lmlab.experiment.choosing import chosen, in_order_of, parse_condition
from lmlab.experiment.listing import folded, read_rows, seeds_of
from lmlab.experiment.reading import read_outcome, read_record
from lmlab.recipe import Recipe, override
from lmlab.runs import Journal, change_tags, create_run

LOSSES = {0: 1.50, 1: 1.54, 2: 1.46}


@pytest.fixture
def make(tmp_path):
    """make(name, seed, loss, **settings): a run, finished where it has a loss."""

    def make_one(name, seed=0, loss=None, **settings):
        recipe = override(
            Recipe(name="hand"), {"train.seed": str(seed), **{k.replace("__", "."): v for k, v in settings.items()}}
        )
        hardware = {"cpu": "a processor", "physical_cores": 2}
        run = create_run(
            tmp_path, name, recipe, {"data_id": "0" * 16, "vocabulary_size": 65, "hardware": hardware, "parent": None}
        )
        run.write("policy.json", {"device": "cpu"})
        run.write("forecast.json", {"steps": 40})
        run.begin_segment("start", 0, True)
        journal = Journal(run.folder, run.id, 0)
        journal.append("metrics", "evaluation", step=0, tokens=0, valid_loss=4.0, valid_bits_per_byte=5.0)
        journal.append("metrics", "train", step=10, tokens=10_000, loss=2.0, tokens_per_second=5_000.0)
        journal.append("metrics", "evaluation", step=10, tokens=10_000, valid_loss=1.9, valid_bits_per_byte=2.0)
        if loss is not None:
            journal.append("metrics", "train", step=40, tokens=40_000, loss=1.0, tokens_per_second=10_000.0)
            run.write(
                "summary.json",
                {
                    "finished": True,
                    "steps": 40,
                    "tokens": 40_000,
                    "final": {"loss": loss, "bits_per_byte": loss / 2},
                    "seconds": {"train": 5.0, "total": 8.0 + seed},
                    "score": {"tokens_per_second": {"measured": 8_000.0 + seed}},
                },
            )
        return run

    return make_one


@pytest.fixture
def folder(make, tmp_path):
    """Three seeds of one recipe, a larger model, one that was stopped, and one that is damaged."""
    for seed, loss in LOSSES.items():
        make(f"seed-{seed}", seed, loss)
    make("larger", 0, 1.2, model__layers="9")
    make("stopped", 7)
    make("damaged").write("summary.json", {"finished": True, "steps": "many"})
    return tmp_path


def names(rows):
    return [row.name for row in rows]


def test_rows_say_what_the_files_say_and_a_damaged_run_is_a_line(folder):
    rows, problems = read_rows(folder)
    assert names(rows) == ["seed-0", "seed-1", "seed-2", "larger", "stopped"]  # the newest last
    (problem,) = problems
    assert problem.startswith("damaged: ")
    first, stopped = rows[0], rows[-1]
    assert (first.status, first.loss, first.bits_per_byte, first.seconds) == ("finished", 1.5, 0.75, 8.0)
    assert (first.tokens_per_second, first.tokens, first.device) == (8000.0, 40_000, "2 cores of a processor")
    assert (stopped.status, stopped.loss, stopped.bits_per_byte) == ("stopped", 1.9, 2.0)
    assert (stopped.step, stopped.steps, stopped.seconds, stopped.tokens_per_second) == (10, 40, 2.0, 5000.0)
    assert first.parameters == read_record(read_outcome_run(folder, "seed-0")).parameters["total"]
    json.dumps(first.to_json())


def read_outcome_run(folder, name):
    from lmlab.runs import open_run

    return open_run(name, folder)[0]


def test_the_quick_record_agrees_with_the_whole_one(folder):
    for name in ("seed-0", "stopped"):
        quick, whole = (read(read_outcome_run(folder, name)) for read in (read_outcome, read_record))
        for fact in ("loss", "bits_per_byte", "step", "tokens", "status", "family", "total_seconds", "device"):
            assert getattr(quick, fact) == getattr(whole, fact), fact


def test_a_row_has_perplexity_accuracy_epochs_and_what_an_epoch_and_a_step_take(make, tmp_path):
    run = make("one", loss=1.5)
    origin = json.loads((run.folder / "origin.json").read_text())
    run.write("origin.json", {**origin, "data": [{"id": "0" * 16, "train_tokens": 16_000}]})
    summary = json.loads((run.folder / "summary.json").read_text())
    run.write("summary.json", {**summary, "final": {**summary["final"], "accuracy": 0.4}})
    (row,), _ = read_rows(tmp_path)
    assert row.perplexity == pytest.approx(math.e**1.5) and row.accuracy == 0.4
    # 40,000 tokens in 40 steps at 8,000 a second, of a text of 16,000.
    assert (row.epochs, row.epoch_seconds, row.step_seconds) == (2.5, 2.0, 0.125)
    assert names(chosen([row], [parse_condition("perplexity<5"), parse_condition("epochs>=2.5")])) == ["one"]


def test_seeds_are_mean_and_standard_deviation_of_finished_runs(folder, make):
    rows, _ = read_rows(folder)
    (group,) = seeds_of(rows)
    assert group.names == ("seed-0", "seed-1", "seed-2") and group.seeds == 3
    assert group.means["loss"] == pytest.approx(statistics.fmean(LOSSES.values()))
    assert group.deviations["loss"] == pytest.approx(statistics.stdev(LOSSES.values()))
    assert [getattr(one, "name", "group") for one in folded(rows, [group])] == ["group", "larger", "stopped"]
    # The same seed again says nothing new.
    make("again", 2, LOSSES[2])
    (again,) = seeds_of(read_rows(folder)[0])
    assert again.seeds == 3 and len(again.names) == 4
    assert again.deviations["loss"] == pytest.approx(group.deviations["loss"])


def test_one_seed_twice_has_no_deviation(make, tmp_path):
    make("one", 1, 2.0)
    make("two", 1, 2.0)
    (group,) = seeds_of(read_rows(tmp_path)[0])
    assert (group.seeds, group.means["loss"], group.deviations["loss"]) == (1, 2.0, None)


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["status=finished"], ["seed-0", "seed-1", "seed-2", "larger"]),
        (["loss<1.5"], ["seed-2", "larger"]),
        (["loss<=1.5", "model.layers!=9"], ["seed-0", "seed-2"]),
        (["name~SEED", "seed>0"], ["seed-1", "seed-2"]),
        (["name!~seed", "status!=stopped"], ["larger"]),
        (["tag=night"], ["seed-1"]),
        (["tag~nig"], ["seed-1"]),
        (["tokens<0.02M"], ["stopped"]),
        (["time>=9s"], ["seed-1", "seed-2"]),
        (["time<0.1h", "speed==8_000"], ["seed-0", "larger"]),
        (["corpus=none"], []),
        (["train.seed=7"], ["stopped"]),
        (["device~cores of"], ["seed-0", "seed-1", "seed-2", "larger", "stopped"]),
    ],
)
def test_conditions_choose_rows(folder, conditions, left):
    change_tags(folder / "seed-1", ["night"])
    rows, _ = read_rows(folder)
    assert names(chosen(rows, [parse_condition(text) for text in conditions])) == left


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss", "is not a condition"),
        ("los<1", "did you mean loss"),
        ("loss<low", "expected a number"),
        ("time<x", "expected a time"),
        ("weights.size=3", "no field"),
        ("emb_dim=64", "it is called model.width here"),
    ],
)
def test_what_is_no_condition_is_told(text, said):
    with pytest.raises(LabError, match=said):
        parse_condition(text)


def test_a_setting_that_no_run_has_is_told(folder):
    rows, _ = read_rows(folder)
    with pytest.raises(LabError, match=r"no setting|no run here has a setting model.layer"):
        chosen(rows, [parse_condition("model.layer=3")])
    with pytest.raises(LabError, match="no run here has a setting"):
        in_order_of(rows, "model.layer")


def test_rows_are_sorted_with_unknown_values_last_either_way(folder):
    rows, _ = read_rows(folder)
    assert names(in_order_of(rows, "loss")) == ["larger", "seed-2", "seed-0", "seed-1", "stopped"]
    assert names(in_order_of(rows, "loss", descending=True)) == ["stopped", "seed-1", "seed-0", "seed-2", "larger"]
    assert names(in_order_of(rows, "model.layers"))[-1] == "larger"
    without = [dataclasses.replace(row, loss=None) if row.name == "larger" else row for row in rows]
    for descending in (False, True):
        assert names(in_order_of(without, "loss", descending))[-1] == "larger"
