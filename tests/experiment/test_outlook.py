"""A run that is going to miss its forecast says so once, whether it was stopped, killed or neither."""

import pytest

from lmlab.experiment.proving import prove
from lmlab.experiment.resuming import resume
from lmlab.experiment.session import expected_loss, read_outlook
from lmlab.experiment.start import train
from lmlab.experiment.timeline import events_of
from lmlab.recipe import override
from lmlab.report.events import event_lines
from lmlab.scaling.estimate import Estimate
from lmlab.training.display import Quiet
from lmlab.training.outlook import Outlook, forecast_loss

pytestmark = pytest.mark.tried


class Noted(Quiet):
    """Keeps what is shown, and may end the training hard after a step."""

    def __init__(self, killed_after=None):
        self.notes, self.ends, self.killed_after = [], {}, killed_after

    def progress(self, now, logged):
        self.ends[now.step] = now.end
        if now.step == self.killed_after:
            raise Killed

    def note(self, text):
        self.notes.append(text)


class Killed(BaseException):
    """A death without a last word."""


def missed(run):
    volatile = {"time", "id", "segment"}
    lines = [line for line in run.read_lines("events") if line["kind"] == "forecast_missed"]
    return [{name: value for name, value in line.items() if name not in volatile} for line in lines]


@pytest.fixture
def hopeful(small_recipe, monkeypatch):
    """A run of 24 steps with an evaluation at every other, and a forecast that it can't meet."""
    dream = Estimate(value=0.4, low=0.3, high=0.5, evidence="fitted")
    monkeypatch.setattr("lmlab.experiment.session.expected_loss", lambda run: dream)
    return override(small_recipe, {"train.steps": "24", "evaluate.every": "2", "train.engine": "torch"})


def test_the_end_is_shown_from_a_third_on_and_a_miss_once(hopeful, tmp_path):
    shown = Noted()
    run = train(hopeful, run="whole", runs=tmp_path, display=shown).run
    (event,) = missed(run)
    assert event["step"] == 8 and event["low"] > event["forecast_high"] == 0.5
    assert len([note for note in shown.notes if "likely to miss its forecast" in note]) == 1
    assert shown.ends[4] == "" and shown.ends[20].startswith("about ")
    evaluations = [note for note in shown.notes if note.startswith("step ")]
    assert "at the end about" in evaluations[6] and "at the end" not in evaluations[2]
    assert any("likely to miss its forecast" in text for text in event_lines(run, events_of(run)))


def test_a_killed_run_neither_repeats_nor_loses_the_event(hopeful, tmp_path):
    whole = train(hopeful, run="whole", runs=tmp_path, display=Quiet()).run
    assert len(missed(whole)) == 1
    for step in (7, 8, 10):  # before its evaluation, after it but before the next checkpoint, and later
        with pytest.raises(Killed):
            train(hopeful, run=f"killed-{step}", runs=tmp_path, display=Noted(step))
        assert missed(resume(f"killed-{step}", runs=tmp_path, display=Quiet()).run) == missed(whole)
    assert prove("whole@0", runs=tmp_path, steps=10, display=Quiet(), say=lambda line: None).equal


def test_a_run_without_a_forecast_or_with_damaged_lines_has_an_outlook_all_the_same(small_recipe, tmp_path):
    recipe = override(small_recipe, {"evaluate.every": "2", "train.steps": "16", "train.engine": "torch"})
    run = train(recipe, run="plain", runs=tmp_path, display=Quiet()).run
    assert expected_loss(run) == forecast_loss(run.read("forecast.json"))
    (run.folder / "forecast.json").unlink()
    outlook = Outlook(lambda step: 1.0, 20, expected_loss(run))
    read_outlook(outlook, run)
    assert expected_loss(run) is None and outlook.expected is not None
    (run.folder / "metrics.jsonl").write_text("{ damaged\n" * 3)
    damaged = Outlook(lambda step: 1.0, 20)
    read_outlook(damaged, run)
    assert damaged.expected is None
