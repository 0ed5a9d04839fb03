"""What `lmlab events` tells: starts, stops with their reason, ends that nothing recorded, the finish, branches."""

import json
import shutil

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.experiment.parent import parent_of
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.experiment.timeline import events_of
from lmlab.recipe import Recipe, override
from lmlab.report.events import event_lines
from lmlab.runs import Journal, RunLock, create_run, open_run
from lmlab.training.display import Quiet
from tests.stopping import AskToStopAt


@pytest.fixture
def whole(small_recipe, untouched, tmp_path):
    """A copy of a run of 12 steps that was trained in one go."""
    shutil.copytree(untouched(small_recipe).run.folder, tmp_path / "whole")
    return open_run("whole", tmp_path)[0]


def kinds(run):
    return [(line["kind"], line["step"]) for line in events_of(run, checkpoints=False)]


def told(run):
    return event_lines(run, events_of(run, checkpoints=False))[1:]


def test_a_run_that_was_trained_in_one_go_has_a_start_and_a_finish(whole, tmp_path, capsys):
    assert kinds(whole) == [("start", 0), ("finished", 12)]
    assert main(["events", "whole", "--runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "started (process" in printed[1] and printed[2].endswith("finished: 12 steps")
    assert main(["events", "whole", "--runs", str(tmp_path), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value[-1]["reason"] == "12 steps" and any(line["kind"] == "checkpoint" for line in value)


def test_of_an_older_run_the_finish_is_told_by_its_summary(whole):
    path = whole.folder / "events.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["kind"] != "finished"]
    path.write_text("".join(line + "\n" for line in kept))
    assert kinds(whole) == [("start", 0), ("finished", 12)]
    assert events_of(whole)[-1]["inferred"] and told(whole)[-1].endswith("finished: 12 steps")


def test_stops_stay_told_after_the_run_went_on_and_a_branch_is_told_on_both_sides(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("lmlab.training.signals.POLL_SECONDS", 0.0)
    train(small_recipe, run="one", runs=tmp_path, display=AskToStopAt(tmp_path / "one", 6), say=lambda line: None)
    run = open_run("one", tmp_path)[0]
    assert kinds(run) == [("start", 0), ("stopped", 6)]
    resume(run, display=Quiet(), say=lambda line: None)
    assert kinds(run) == [("start", 0), ("stopped", 6), ("resume", 6), ("finished", 12)]
    assert "stopped by control/stop, saved after" in told(run)[1]
    longer = override(small_recipe, {"train.steps": "14"})
    train(longer, run="two", runs=tmp_path, parent=parent_of("one@6", tmp_path), display=Quiet(), say=lambda line: None)
    assert kinds(run)[-1] == ("branch", 6) and told(run)[-1].endswith("two branches off here")
    child = open_run("two", tmp_path)[0]
    assert kinds(child)[0] == ("start", 6) and "as a branch of one@6" in told(child)[0]


def test_a_process_that_was_killed_is_told_by_the_last_line_that_it_wrote(tmp_path):
    run = create_run(tmp_path, "killed", Recipe(), {"data_id": "0123456789abcdef"})
    for first, last, kind in ((0, 30, "start"), (20, 40, "resume")):
        segment = run.begin_segment(kind, first, True)
        journal = Journal(run.folder, run.id, segment)
        journal.append("metrics", "train", step=last, tokens=last, loss=1.0)
    assert kinds(run) == [("start", 0), ("ended", 30), ("resume", 20), ("ended", 40)]
    assert "killed" in told(run)[-1]
    with RunLock(run.folder):
        assert kinds(run) == [("start", 0), ("ended", 30), ("resume", 20)], "the last one is still at work"


def test_a_training_that_failed_says_why(small_recipe, tmp_path, monkeypatch):
    def refuse(*_):
        raise LabError("the disk is gone")

    monkeypatch.setattr("lmlab.training.saving.Saver.save", refuse)
    with pytest.raises(LabError, match="the disk is gone"):
        train(small_recipe, run="failing", runs=tmp_path, display=Quiet(), say=lambda line: None)
    run = open_run("failing", tmp_path)[0]
    assert kinds(run) == [("start", 0), ("failed", 0)]
    assert told(run)[-1].endswith("failed: the disk is gone")
