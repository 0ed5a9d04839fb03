"""`lmlab report`, from run folders to pictures."""

import csv
import dataclasses
import io
import json

import pytest

from lmlab.cli import main
from lmlab.recipe import load_recipe
from lmlab.runs import Journal, create_run


@pytest.fixture
def runs(tmp_path):
    """Two runs of 40 steps, best at step 20, and a third that has only begun."""
    for name in ("one", "two", "new"):
        run = create_run(tmp_path / "runs", name, dataclasses.replace(load_recipe("first"), name=name), {})
        journal = Journal(run.folder, run.id, 0)
        for step in range(0 if name == "new" else 41):
            loss = 2.0 + abs(step - 20) / 10
            journal.append(
                "metrics", "train", step=step, tokens=64 * step, loss=loss, learning_rate=0.1, gradient_norm=1.0
            )
            if step % 4 == 0:
                scores = {"valid_loss": loss, "train_loss": loss, "whole": True}
                journal.append("metrics", "evaluation", step=step, tokens=64 * step, **scores)
        journal.flush()
    return tmp_path / "runs"


def test_a_run_gets_its_pictures_and_the_last_line_names_one(runs, capsys):
    assert main(["report", "one", "--runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(runs / "one" / "report" / name) for name in ("curves.svg", "curves.png")]
    assert all((runs / "one" / "report" / name).stat().st_size > 5000 for name in ("curves.svg", "curves.png"))


def test_several_runs_in_one_picture_where_they_are_wanted(runs, tmp_path, capsys):
    words = [
        "one",
        "two",
        "--runs",
        str(runs),
        "--output",
        str(tmp_path / "out"),
        "--format",
        "png",
        "--against",
        "tokens",
    ]
    assert main(["report", *words]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / "curves-of-one-two.png")]


def test_json_is_all_of_standard_output(runs, capsys):
    assert main(["report", "one", "--runs", str(runs), "--format", "svg", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["files"] == [str(runs / "one" / "report" / "curves.svg")]
    assert (value["run"], value["loss"], value["step"], value["turning_step"]) == ("one", 2.0, 20, 20)
    assert value["whole"] is True
    assert main(["report", "one", "two", "--runs", str(runs), "--format", "svg", "--json"]) == 0
    assert [entry["run"] for entry in json.loads(capsys.readouterr().out)["runs"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ([], 2, "needs a run"),
        (["one@99"], 1, "has no step 99"),
        (["new"], 1, "new has no losses yet"),
        (["nobody"], 1, "nobody"),
        (["one", "--format", "gif"], 2, "gif"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(runs, capsys, words, status, reason):
    assert main(["report", *words, "--runs", str(runs)]) == status
    output, errors = capsys.readouterr()
    assert output == ""
    assert reason in errors
    assert len(errors.splitlines()) == 1
    assert not (runs / "new" / "report").exists()


def test_a_checkpoint_ends_the_curves_and_the_evaluations_there(runs, capsys):
    assert main(["report", "one@12", "--runs", str(runs), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["run"], value["step"], value["loss"]) == ("one@12", 12, 2.8)
    assert main(["report", "one@best", "--runs", str(runs), "--to", "json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert entry["run"] == "one@best" and [row["step"] for row in entry["evaluations"]] == [0, 4, 8, 12, 16, 20]
    assert main(["report", "one@99", "--runs", str(runs)]) == 1
    assert "has no step 99: expected one of 0 to 40" in capsys.readouterr().err


def test_the_evaluations_as_text_and_csv_mark_the_best(runs, capsys):
    assert main(["report", "one", "two", "--runs", str(runs), "--to", "text"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "one: 11 evaluations, losses in nats a token"
    assert lines[1].split() == ["step", "tokens", "training", "validation", "perplexity", "time"]
    (best,) = [line for line in lines[:13] if line.endswith("best")]
    assert best.split()[:5] == ["20", "1.28k", "2.0000", "2.0000", "7.39"]
    assert main(["report", "one", "two", "--runs", str(runs), "--to", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 22 and {row["run"] for row in rows} == {"one", "two"}
    assert [row["step"] for row in rows if row["best"] == "1"] == ["20", "20"]
    assert float(rows[0]["valid_loss"]) == 4.0 and rows[0]["accuracy"] == ""
