"""A record says of a run what its files say, and keeps the family of a recipe's seeds together."""

import dataclasses
import shutil

import pytest

from lmlab import LabError
from lmlab.experiment.reading import read_record, read_records
from lmlab.experiment.start import train
from lmlab.recipe import override
from lmlab.runs import Run
from lmlab.training.display import make_display


@pytest.fixture
def one(small_recipe, tmp_path):
    """A finished run."""
    return train(small_recipe, run="one", runs=tmp_path, display=make_display(quiet=True), say=lambda line: None).run


def test_a_finished_run_is_read_whole_and_its_seeds_are_one_family(one):
    record, summary = read_record(one), one.summary()
    assert (record.status, record.step, record.tokens) == ("finished", 12, 12 * 4 * 16)
    assert record.loss == summary["final"]["loss"] and record.bits_per_byte == summary["final"]["bits_per_byte"]
    assert [entry.step for entry in record.evaluations] == [0, 5, 10, 12]
    assert record.evaluations[0].train_seconds == 0.0
    assert record.tokens_per_second == pytest.approx(record.tokens / summary["seconds"]["train"], rel=0.5)
    parts = {name: count for name, count in record.parameters.items() if name not in ("total", "matrix")}
    assert record.parameters["total"] == sum(parts.values())
    assert record.training_flops > 6 * record.parameters["matrix"] * record.tokens

    def family(**settings):
        changed = {name.replace("__", "."): value for name, value in settings.items()}
        return dataclasses.replace(record, recipe=override(record.recipe, changed)).family

    assert family(train__seed="2") == family(train__threads="2") == record.family
    assert record.family not in {family(model__layers="1"), family(train__steps="13")}


def test_runs_that_cannot_be_read_are_told_apart(one, tmp_path):
    for name in ("two", "three"):
        shutil.copytree(one.folder, tmp_path / name)
    (tmp_path / "two" / "metrics.jsonl").write_text('{"format": 1, "kind": "train"}\n')
    with pytest.raises(LabError, match="two has a damaged line"):
        read_record(Run(tmp_path / "two"))
    (tmp_path / "three" / "recipe.toml").write_text("[model\n")
    records, problems = read_records(tmp_path)
    assert [record.name for record in records] == ["one"] and len(problems) == 2


def test_a_run_that_was_only_begun_has_no_loss(one):
    for name in ("summary.json", "metrics.jsonl"):
        (one.folder / name).unlink()
    record = read_record(one)
    assert record.loss is None and record.bits_per_byte is None and record.status == "stopped"
    assert record.total_seconds is None and record.tokens_per_second is None
