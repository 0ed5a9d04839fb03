"""`lmlab report`, from run folders to pictures."""

import dataclasses
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
        (["one@best"], 2, "without @best"),
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
