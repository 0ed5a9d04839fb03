"""`lmlab evaluate --tasks` on trained runs: figures, stored results, comparisons, refusals, and a registered toy task."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmlab import LabError, cli
from lmlab.evaluation.tasks import TASKS, add_task
from lmlab.evaluation.tasks import task as registry
from lmlab.evaluation.tasks.files import read_task
from lmlab.experiment.at_checkpoint import record_at
from lmlab.experiment.loaded import load
from lmlab.experiment.reading import read_record
from lmlab.experiment.task_report import AskedTasks
from lmlab.experiment.task_scores import evaluate_tasks, tasks_named
from lmlab.recipe import override
from lmlab.report.tasks_table import tasks_parts
from lmlab.runs.task_results import list_task_results, read_task_result
from lmlab.study.compare.task_pairs import stored_task_pairs
from tests.toys.task import COUNTING

NOUNS = ("lamp", "ship", "street", "clock", "door", "sister")


@pytest.fixture
def data(tmp_path):
    """A folder with a BLiMP of two sets, a COPA, and a LAMBADA of which one item has a letter that the tokenizer lacks."""
    pairs = [
        {"sentence_good": f"The {noun} waits.", "sentence_bad": f"The {noun} wait.", "UID": f"set{place % 2}"}
        for place, noun in enumerate(NOUNS)
    ]
    choices = [
        {"query": f"The {noun} waits for", "choices": ["rain", noun], "gold": place % 2}
        for place, noun in enumerate(NOUNS)
    ]
    passages = [{"text": f"The old {noun} waits for the rain"} for noun in NOUNS] + [{"text": "The Zebra waits for 9"}]
    whole = [{**pair, "field": "syntax", "linguistics_term": "agreement"} for pair in pairs]
    for name, records in (("blimp", whole), ("copa", choices), ("lambada", passages)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return tmp_path


@pytest.fixture
def run(untouched, small_recipe):
    return untouched(override(small_recipe, {"model.context": "40"})).run


def asked(data, **changed):
    return AskedTasks(**{"tasks": ("all",), "place": str(data), "device": "cpu", **changed})


@pytest.fixture
def copied(run, tmp_path):
    """The run in a folder of its own, which a test may change."""
    import shutil

    from lmlab.runs import Run

    return Run(Path(shutil.copytree(run.folder, tmp_path / "runs" / "mine")))


def test_results_are_stored_and_equal_those_that_are_returned(copied, data):
    report = evaluate_tasks([str(copied.folder)], asked(data), copied.folder.parent)
    assert list(report.scores) == ["blimp", "lambada", "copa"]
    assert [task for task, _ in list_task_results(copied.folder)] == ["blimp", "copa", "lambada"]
    (model,) = report.models
    for selected in report.tasks:
        (score,) = report.scores[selected.task.name]
        stored = read_task_result(copied.folder, selected.task.name, model.step)
        assert stored.value["id"] == copied.id
        assert stored.value["data_sha256"] == selected.data.sha256
        assert stored.outcomes.count("1") == score.judged.figures.primary.right
        assert len(stored.outcomes) == len(selected.items) and stored.value["selected"] is None
        rows = stored.rows
        options = [len(item.options) for item in selected.items]
        assert len(rows) == sum(options) - sum(options[place] for place in score.judged.encoded.unscorable)
        assert rows["nats"].sum() == pytest.approx(score.judged.scores.nats.sum())


def test_every_key_of_a_stored_result_is_described(copied, data):
    evaluate_tasks([str(copied.folder)], asked(data, tasks=("blimp",)), copied.folder.parent)
    (_, step), *_ = list_task_results(copied.folder)
    value = read_task_result(copied.folder, "blimp", step).value
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    names = {*value, *value["styles"]["whole sentence"], *value["tokens"], *value["contamination"]}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_stored_rows_decide_the_outcomes_again(copied, data):
    report = evaluate_tasks([str(copied.folder)], asked(data, tasks=("copa",)), copied.folder.parent)
    stored = read_task_result(copied.folder, "copa", report.models[0].step)
    found = ""
    for item in range(len(NOUNS)):
        own = stored.rows[stored.rows["item"] == item]
        right = own["nats"][own["gold"] == 1]
        found += "1" if (own["nats"][own["gold"] == 0] > right).all() else "0"
    assert found == stored.outcomes


def test_an_item_with_a_letter_that_the_tokenizer_lacks_is_counted_and_stated(copied, data):
    report = evaluate_tasks([str(copied.folder)], asked(data, tasks=("lambada",)), copied.folder.parent)
    judged = report.scores["lambada"][0].judged
    assert judged.figures.primary.trials == len(NOUNS)
    assert list(judged.encoded.unscorable) == [len(NOUNS)]
    text = "\n".join(str(part) for part in tasks_parts(report))
    assert (
        "1 of 7 items are unscorable and not counted: 1 for a character that the tokenizer lacks ('Z' (U+005A))" in text
    )


def test_two_checkpoints_are_compared_on_the_same_items(copied, data):
    references = [f"{copied.folder}@{step}" for step in (4, 12)]
    report = evaluate_tasks(references, asked(data), copied.folder.parent)
    assert [model.step for model in report.models] == [4, 12]
    assert [(pair.task, pair.paired.items) for pair in report.pairs] == [("blimp", 6), ("lambada", 6), ("copa", 6)]
    assert {pair.kind for pair in report.pairs} <= {"indistinguishable", "not ranked"}
    value = json.loads(json.dumps(report.to_json()))
    assert [len(task["results"]) for task in value["tasks"]] == [2, 2, 2]
    assert "outcomes" not in value["tasks"][0]["results"][0]


def test_stored_results_give_the_same_verdicts_to_a_comparison(copied, data):
    references = [f"{copied.folder}@{step}" for step in (4, 12)]
    report = evaluate_tasks(references, asked(data), copied.folder.parent)
    named = {"mine": record_at(copied, "4", "cpu"), "again": read_record(copied)}
    found, problems = stored_task_pairs(named)
    assert problems == []
    assert [(pair.task, pair.first, pair.second) for pair in found] == [
        (task, "mine@4", "again@12") for task in ("blimp", "copa", "lambada")
    ]
    own = {pair.task: pair for pair in report.pairs}
    assert all(pair.paired == own[pair.task].paired and pair.kind == own[pair.task].kind for pair in found)
    evaluate_tasks([f"{copied.folder}@12"], asked(data, tasks=("copa",), items=3), copied.folder.parent)
    assert {pair.task: pair.paired.items for pair in stored_task_pairs(named)[0]}["copa"] == 3
    (copied.folder / "tasks" / "copa-step-00000012.npy").write_bytes(b"")
    found, problems = stored_task_pairs(named)
    # The last one that can be read counts, and the other is named.
    assert {pair.task: pair.second for pair in found}["copa"] == "again@4" and "is damaged" in problems[0]


def test_a_checkpoint_named_twice_is_refused(copied, data):
    with pytest.raises(LabError, match="named twice"):
        evaluate_tasks([str(copied.folder), f"{copied.folder}@best"], asked(data), copied.folder.parent)


def test_a_part_of_the_items_is_stated_and_has_its_places_stored(copied, data):
    report = evaluate_tasks([str(copied.folder)], asked(data, tasks=("blimp",), items=4), copied.folder.parent)
    stored = read_task_result(copied.folder, "blimp", report.models[0].step)
    selected = stored.value["selected"]
    assert len(selected) == 4 and sorted(place % 2 for place in selected) == [0, 0, 1, 1]
    assert set(stored.rows["item"].tolist()) == set(selected)
    assert "4 of 6 items (chosen by seed 1)" in "\n".join(map(str, tasks_parts(report)))


def test_text_of_a_task_that_is_in_training_is_reported(copied, data, tiny_text):
    sentences = tiny_text.splitlines()[:40:5]
    (data / "lambada.jsonl").write_text("".join(json.dumps({"text": line.strip()}) + "\n" for line in sentences))
    report = evaluate_tasks([str(copied.folder)], asked(data, tasks=("lambada", "copa")), copied.folder.parent)
    found = report.scores["lambada"][0].contamination
    assert found is not None and found.found == found.compared > 0
    assert report.scores["copa"][0].contamination.found == 0
    assert "lambada, mine@" in "\n".join(map(str, tasks_parts(report)))
    without = evaluate_tasks(
        [str(copied.folder)], asked(data, tasks=("copa",), contamination="no"), copied.folder.parent
    )
    assert without.scores["copa"][0].contamination is None


def test_nothing_is_scored_where_a_task_s_data_is_malformed(copied, data):
    (data / "copa.jsonl").write_text('{"query": 1}\n')
    with pytest.raises(LabError, match="copa.jsonl: line 1 has"):
        evaluate_tasks([str(copied.folder)], asked(data), copied.folder.parent)
    assert list_task_results(copied.folder) == []


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(LabError, match="did you mean hellaswag"):
        tasks_named(["helaswag"])


def test_what_is_printed_fits_100_columns(copied, data, capsys):
    folder = str(copied.folder.parent)
    words = ["evaluate", "mine@4", "mine@12", "--tasks", "all", "--task-data", str(data), "--runs", folder, "--groups"]
    assert cli.main([*words, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["task", "items", "chance", "majority", "mine@4", "mine@12", "shows"]
    tables = [line for line in lines if "  " in line.strip()]
    assert max(map(len, tables)) <= 100
    assert any(line.startswith("blimp by set") for line in lines)


def test_json_is_one_value(copied, data, capsys):
    words = ["evaluate", "mine", "--tasks", "copa", "--task-data", str(data / "copa.jsonl"), "--json", "--no-corrupted"]
    assert cli.main([*words, "--runs", str(copied.folder.parent), "--device", "cpu"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["format"], value["kind"]) == (1, "tasks")
    result = value["tasks"][0]["results"][0]
    assert result["controls"]["constant"] == 0.0 and result["controls"]["corrupted"] is None
    assert set(result["styles"]) == {"completion", "normalised per byte", "normalised per token"}


@pytest.mark.parametrize(
    "words, said",
    [
        (["mine", "--items", "3"], "--items needs --tasks"),
        (["mine", "mine@4"], "several runs need --tasks"),
        (["mine", "--tasks", "copa", "--on", "x.txt"], "--tasks and --on exclude each other"),
        (["mine", "--tasks", "copa", "--harness", "copa"], "--tasks and --harness exclude each other"),
        ([], "needs a run"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(words, said, copied, capsys):
    assert cli.main(["evaluate", *words, "--runs", str(copied.folder.parent)]) == 2
    assert said in capsys.readouterr().err


def test_a_toy_task_is_registered_read_and_scored(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "TASKS", TASKS)
    monkeypatch.setitem(TASKS, "counting", COUNTING)
    (tmp_path / "counting.jsonl").write_text('{"from": 1, "to": 2, "not": 7}\n{"from": 2}\n')
    with pytest.raises(LabError, match="counting.jsonl: line 2 lacks a whole number"):
        read_task(COUNTING, str(tmp_path))
    with pytest.raises(ValueError, match="counting exists already"):
        add_task(COUNTING)


def test_a_module_of_extensions_registers_tasks_for_the_command():
    root = Path(__file__).parents[2]
    code = (
        "from lmlab.recipe.extensions import load_extensions; load_extensions()\n"
        "from lmlab.experiment.task_scores import tasks_named; print(tasks_named(['counting'])[0].about)"
    )
    environment = {**os.environ, "LMLAB_EXTENSIONS": "tests.toys.registered", "PYTHONPATH": str(root)}
    found = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert found.stdout.strip() == COUNTING.about, found.stderr


def test_the_page_and_the_help_name_every_task():
    root = Path(__file__).parents[2]
    page, help_text = ((root / name).read_text(encoding="utf-8") for name in ("docs/tasks.md", "lmlab/cli/evaluate.py"))
    assert [name for name in TASKS if f"`{name}`" not in page or name not in help_text] == []


def test_scores_do_not_depend_on_the_method(copied, data):
    from lmlab.evaluation.tasks.judging import judge
    from lmlab.evaluation.tasks.scoring import Scorer
    from lmlab.experiment.task_scores import encoder_of

    loaded = load(str(copied.folder), device="cpu")
    task = TASKS["copa"]
    items = read_task(task, str(data)).items
    found = [
        judge(
            task, items, encoder_of(loaded), Scorer(model=loaded.model, device=loaded.device, method=method)
        ).scores.nats
        for method in ("shared", "whole")
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
