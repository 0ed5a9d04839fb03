"""Signals at any point: a save within seconds, exit status 3, and the same end after a resume; a second one stops at once."""

import os
import random

import pytest

from lmlab.runs import open_run
from tests.faults.conftest import SEED
from tests.faults.suite import STOPPED, Fault, assert_same_end

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
GRACE_SECONDS = 25
"""torchrun leaves 30 between its signal and its kill."""


@pytest.mark.parametrize("signal", SIGNALS)
def test_each_signal_at_steps_evaluations_samples_and_the_last_scores(plain, signal):
    for place in (Fault("step", 5, signal), Fault("evaluation", 2, signal), Fault("sampling", 1, signal)):
        assert_same_end(plain, f"{signal}-{place.point}", [place])
    assert_same_end(plain, f"{signal}-whole-split", [Fault("whole split", 0, signal)])


def test_a_signal_while_the_data_is_prepared_ends_the_command_and_leaves_nothing_half(plain, tmp_path):
    cold = {"LMLAB_CACHE": str(tmp_path / "cold")}
    assert_same_end(plain, "prepared", [Fault("disk", 4, "SIGTERM")], cold)


def test_the_time_from_the_signal_to_the_last_save_is_recorded_and_short(plain):
    folder = plain.folder / "recorded"
    assert plain.nursery.run([*plain.words, "--run", "recorded"], folder, Fault("step", 5, "SIGTERM")) == STOPPED
    run, _ = open_run("recorded", plain.folder / "runs")
    (stopped,) = [line for line in run.read_lines("events") if line["kind"] == "stopped"]
    assert stopped["reason"] == "SIGTERM" and 0 <= stopped["seconds"] < GRACE_SECONDS


def test_a_time_limit_saves_and_stops(plain):
    folder = plain.folder / "limited"
    command = [*plain.words, "--run", "limited", "--train.steps", "100000", "--train.until", "3s"]
    assert plain.nursery.run(command, folder) == STOPPED
    run, _ = open_run("limited", plain.folder / "runs")
    (stopped,) = [line for line in run.read_lines("events") if line["kind"] == "stopped"]
    assert stopped["reason"] == "train.until" and stopped["step"] > 1


@pytest.mark.faults
def test_signals_at_many_points(plain, beside, eventful):
    chance = random.Random(SEED)
    for ground in (plain, beside, eventful):
        for number, fault in enumerate(chance.sample(ground.points(), 40)):
            assert_same_end(ground, f"signal-{number}", [Fault(fault.point, fault.index, chance.choice(SIGNALS))])
