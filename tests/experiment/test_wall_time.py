"""The time that is forecast and measured counts from the start of the process, or of the call, on both sides."""

import json
import os
import subprocess
import sys
import time

import pytest

from lmlab.cli import clock as command
from lmlab.experiment.planned import plan
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.planning.forecasts.history import finished_runs
from lmlab.planning.forecasts.score import calibrations_from
from lmlab.recipe import override
from lmlab.training.display import Quiet
from lmlab.training.wall import WallClock
from tests.stopping import StopAt

EARLIER = 1_000.0
"""Seconds that a process is said to have run before."""


def quietly(recipe, **options):
    return train(recipe, **{"display": Quiet(), "say": lambda line: None, **options})


def test_a_call_counts_from_the_call_whatever_its_process_did_before(small_recipe, tmp_path):
    began = time.monotonic()
    outcome = quietly(small_recipe, run="x", runs=tmp_path)
    took = time.monotonic() - began
    summary, forecast = outcome.summary, outcome.run.read("forecast.json")
    seconds, found = summary["seconds"], summary["score"]["total_seconds"]
    assert found["since"] == forecast["since"] == seconds["since"] == "call" and not found["resumed"]
    assert seconds["total"] < seconds["wall"] == found["measured"] <= took
    parts = sum(forecast[f"{part}_seconds"] for part in ("start", "open", "train", "evaluate", "save"))
    assert forecast["total_seconds"] == pytest.approx(parts)
    assert 0 < forecast["start_seconds"] < seconds["wall"]
    assert "from the call" in outcome.lines[0]


def test_what_had_passed_is_measured_and_has_no_error(small_recipe, tmp_path):
    clock = WallClock(began=time.monotonic() - EARLIER, since="process")
    said = []
    outcome = quietly(small_recipe, run="x", runs=tmp_path, clock=clock, say=said.append)
    forecast, found = outcome.run.read("forecast.json"), outcome.summary["score"]["total_seconds"]
    passed = forecast["start_seconds"]
    assert EARLIER < passed < found["measured"] and found["since"] == "process"
    assert found["low"] > passed, "the interval is of what was still to come"
    raw = forecast["raw"]["total_seconds"]
    assert found["raw_ratio"] == pytest.approx((found["measured"] - passed) / (raw - passed))
    assert any("from the start of the process, 16 min 40 s of them until now" in line for line in said)
    assert "from the start of the process" in outcome.lines[0]


def test_a_resume_adds_the_times_of_its_processes_and_teaches_no_forecast(small_recipe, tmp_path):
    began = time.monotonic()
    first = WallClock(began=began - 100.0, since="process")
    quietly(small_recipe, run="x", runs=tmp_path, clock=first, display=StopAt(5))
    again = WallClock(began=time.monotonic() - 10.0, since="process")
    outcome = resume("x", runs=tmp_path, display=Quiet(), say=lambda line: None, clock=again)
    found = outcome.summary["score"]["total_seconds"]
    assert 110.0 < found["measured"] <= 110.0 + time.monotonic() - began
    assert found["resumed"]
    scores = [run.score for run in finished_runs(tmp_path)]
    assert calibrations_from(scores)["total_seconds"].runs == 0


def test_a_run_that_an_earlier_version_began_is_held_against_what_that_forecast(small_recipe, tmp_path):
    run = quietly(small_recipe, run="x", runs=tmp_path, display=StopAt(5)).run
    forecast = run.read("forecast.json")
    for name in ("since", "start_seconds", "open_seconds"):
        del forecast[name]
    run.write("forecast.json", forecast)
    outcome = resume("x", runs=tmp_path, display=Quiet(), say=lambda line: None)
    seconds, found = outcome.summary["seconds"], outcome.summary["score"]["total_seconds"]
    assert seconds["wall"] is None and "since" not in found
    evaluated = outcome.summary["score"]["evaluate_seconds"]["measured"]
    assert found["measured"] == pytest.approx(seconds["train"] + evaluated + seconds["save"])
    assert calibrations_from([run.score for run in finished_runs(tmp_path)])["total_seconds"].runs == 0


def test_a_command_counts_from_the_start_of_its_process_and_one_that_is_called_from_the_call():
    command.command_begins(own_process=True)
    assert command.command_clock().since == "process"
    assert command.command_clock().began == pytest.approx(WallClock.of_process().began, abs=0.02)
    command.command_begins(own_process=False)
    clock = command.command_clock()
    assert clock.since == "call" and 0 <= clock.seconds() < 60


@pytest.mark.tried
def test_the_command_measures_all_of_its_process(small_recipe, tmp_path):
    """Held against the time of the process as its parent sees it, of which only what comes after the summary is missing."""
    words = [
        f"--{name}={value}" for name, value in {"train.steps": 12, "train.batch": 4, "train.device": "cpu"}.items()
    ]
    words += ["--model.layers=2", "--model.width=32", "--model.heads=2", "--model.context=16", "--train.engine=torch"]
    command_line = [
        sys.executable,
        "-m",
        "lmlab",
        "train",
        "shakespeare-cpu",
        "--data.corpus",
        small_recipe.data.corpus,
    ]
    began = time.monotonic()
    said = subprocess.run(
        [*command_line, *words, "--runs", str(tmp_path), "--run", "x", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )
    took = time.monotonic() - began
    assert said.returncode == 0, said.stderr
    seconds = json.loads(said.stdout)["seconds"]
    forecast = json.loads((tmp_path / "x" / "forecast.json").read_text())
    assert seconds["since"] == forecast["since"] == "process"
    # Imports and the trial's process, which take seconds, are in both.
    assert 1.0 < forecast["start_seconds"] < seconds["wall"] <= took + 0.02
    assert seconds["wall"] > took - 60.0


def test_a_plan_adds_the_start_of_a_process_of_its_own(small_recipe, tmp_path, monkeypatch):
    from tests.experiment.test_planned import TRIAL

    recipe = override(small_recipe, {"train.steps": "40"})
    monkeypatch.setattr("lmlab.experiment.planned.measured_or_extended", lambda *_, **__: (TRIAL, "measured"))
    monkeypatch.setattr("lmlab.experiment.planned.measure_lines", lambda *_, **__: None)
    monkeypatch.setattr("lmlab.experiment.planned.in_this_process", lambda trial, *_: trial)
    kept = iter([None, TRIAL] * 2)
    monkeypatch.setattr("lmlab.experiment.planned.kept_trial", lambda *_: next(kept))
    clock = WallClock(began=time.monotonic() - 7.0, since="process")
    own = plan(recipe, runs=tmp_path, say=lambda line: None, clock=clock)
    called = plan(recipe, runs=tmp_path, say=lambda line: None)
    assert 7.0 < own.duration.start_seconds < 67.0
    # In a program that may have run for hours, imports take what they took the trial's process.
    assert TRIAL.start_seconds < called.duration.start_seconds < TRIAL.start_seconds + 60.0
    for found in (own, called):
        time_of = found.duration
        rest = time_of.open_seconds + time_of.train_seconds + time_of.evaluate_seconds + time_of.save_seconds
        assert time_of.total_seconds.value == pytest.approx(time_of.start_seconds + rest)
        assert time_of.total_seconds.low > time_of.start_seconds
        assert found.forecast.start_seconds == time_of.start_seconds and found.forecast.since == "process"
    assert "from the start of the process: start" in "\n".join(own.lines())
