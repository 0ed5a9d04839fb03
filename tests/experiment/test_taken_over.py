"""Two processes on one run, where the file system's locks don't keep them apart: the later one has it, and nothing is mixed."""

import os

import pytest

from lmlab.checkpoint.finding import find
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override
from lmlab.runs import TakenOver, open_run
from lmlab.training.display import Quiet
from tests.experiment.test_spikes import assert_same_end


@pytest.fixture(autouse=True)
def _local_locks(monkeypatch):
    """Every process gets the lock, and all have the same number, as in two containers."""
    monkeypatch.setattr("lmlab.runs.lock.try_lock", lambda *arguments, **options: True)
    monkeypatch.setattr(os, "getpid", lambda: 1)


class Elsewhere(Quiet):
    """At a step of the first process, the second one begins: it goes to a step of its own, or to the end."""

    def __init__(self, at, runs, display):
        self.at, self.runs, self.display = at, runs, display
        self.done = False

    def progress(self, now, logged):
        if now.step == self.at and not self.done:
            self.done = True
            resume("shared", runs=self.runs, display=self.display, say=lambda line: None)


@pytest.mark.parametrize("at", [1, 5, 7, 11])
@pytest.mark.parametrize("background", ["off", "on"])
def test_the_first_stops_and_the_second_ends_as_if_it_were_alone(small_recipe, tmp_path, untouched, at, background):
    recipe = override(small_recipe, {"train.background": background, "train.log_every": "1"})
    whole = untouched(recipe)
    with pytest.raises(TakenOver, match="was taken over by process 1"):
        train(recipe, run="shared", runs=tmp_path, display=Elsewhere(at, tmp_path, Quiet()), say=lambda line: None)
    run, _ = open_run("shared", tmp_path)
    assert run.status() == "finished" or run.summary()["finished"]
    assert_same_end(whole.run, run)
    assert find(run.checkpoints, "best")[0].step == find(whole.run.checkpoints, "best")[0].step
    assert run.units().tobytes() == whole.run.units().tobytes()
    assert {line["segment"] for line in run.read_lines("metrics") if line["step"] > at} == {1}


def test_a_look_at_the_run_from_elsewhere_disturbs_nothing(small_recipe, tmp_path, monkeypatch):
    """A resume that is refused for a setting has taken nothing over."""

    class Refused(Quiet):
        def progress(self, now, logged):
            if now.step == 7:
                with pytest.raises(Exception, match="a resume changes only policy"):
                    resume("shared", runs=tmp_path, changes={"train.steps": "99"}, say=lambda line: None)

    assert train(small_recipe, run="shared", runs=tmp_path, display=Refused()).ending.kind == "finished"
