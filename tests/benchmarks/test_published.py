"""A finished run becomes a row of docs/results.json, and the demo's terminal the lines of docs/getting-started.md."""

import subprocess

import pytest

from benchmarks.demo import Screen, sample_of
from benchmarks.published import KEPT, TYPED, measured, record_of, with_run
from benchmarks.run_source import differs_from_commit
from lmlab import LabError
from lmlab.runs.code import source_sha256

MACHINES = {"A": {"cpu": "a processor", "about": "fast"}}


class Finished:
    """A run's files, as `lmlab train` leaves them."""

    def __init__(self, folder, cpu="a processor", finished=True):
        self.folder = folder
        self._cpu, self._finished = cpu, finished

    def origin(self):
        return {
            "created": "2026-11-24T20:22:25.294Z",
            "recipe": "shakespeare-cpu",
            "command": [
                "/somewhere/bin/lmlab",
                "train",
                "shakespeare-cpu",
                "--runs",
                "r",
                "--data.corpus",
                "/somewhere/input.txt",
            ],
            "hardware": {"cpu": self._cpu},
            "code": {"commit": None, "source_sha256": "0"},
        }

    def summary(self):
        final = {
            "loss": 1.4267,
            "loss_interval": [1.3, 1.5],
            "perplexity": 4.166,
            "accuracy": 0.56,
            "bits_per_byte": 2.0584,
        }
        claims = [
            {"step": 5, "metric": "train_loss", "measured": 3.0},
            {"step": 5, "metric": "valid_loss", "measured": 3.5},
            {"step": 9, "metric": "train_loss", "measured": 2.0},
            {"step": None, "metric": "valid_loss", "measured": 1.4},
        ]
        best = {"step": 250, "loss": 1.4201}
        seconds = {"total": 86.2}
        return {
            "finished": self._finished,
            "final": final,
            "best": best,
            "claims": claims,
            "seconds": seconds,
            "steps": 300,
        }

    def read(self, name):
        assert name == "policy.json"
        return {"threads": 1}


def test_a_finished_run_becomes_a_row_without_private_folders(tmp_path):
    row = record_of(Finished(tmp_path), MACHINES, None)
    assert row["command"] == "lmlab train shakespeare-cpu --data.corpus input.txt"
    assert (row["source"], row["machine"], row["date"][:10], row["dirty"]) == (KEPT, "A", "2026-11-24", None)
    assert row["at_steps"] == [{"step": 5, "train_loss": 3.0, "valid_loss": 3.5}]
    assert measured(row) == (
        "1.4267 (95% 1.3000 to 1.5000), best 1.4201 at step 250, step 5: 3.000 train, 3.500 validation, perplexity 4.17, "
        "2.0584 bits per byte, after 1 min 26 s on one core"
    )


def test_a_run_that_has_not_finished_or_of_another_machine_is_refused(tmp_path):
    with pytest.raises(LabError, match="hasn't finished: expected a run with a summary"):
        record_of(Finished(tmp_path, finished=False), MACHINES, None)
    with pytest.raises(LabError, match="is of an other: expected one of `machines`"):
        record_of(Finished(tmp_path, cpu="other"), MACHINES, None)


def test_a_row_takes_the_place_of_the_one_of_the_same_recipe_machine_and_command():
    typed = {"recipe": "a", "machine": "A", "command": "c", "source": TYPED, "loss": 1}
    other = {**typed, "machine": "B"}
    new = {**typed, "source": KEPT, "loss": 2}
    assert with_run({"format": 1, "runs": [typed, other]}, new)["runs"] == [new, other]
    assert with_run({"format": 1, "runs": [other]}, new)["runs"] == [other, new]


def test_whether_a_run_was_trained_by_its_commit_is_told_from_the_source(tmp_path):
    package = tmp_path / "lmlab"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert differs_from_commit(commit, source_sha256(package), tmp_path) is False
    (package / "a.py").write_text("x = 2\n")
    assert differs_from_commit(commit, source_sha256(package), tmp_path) is True
    assert differs_from_commit("0" * 40, "", tmp_path) is None
    assert differs_from_commit(None, "", tmp_path) is None


def panel(step):
    return f"\x1b[2m╭─\x1b[0m\x1b[2m─╮\x1b[0m\r\n\x1b[2m│\x1b[0m step {step}/100 \x1b[2m│\x1b[0m\r\n\x1b[2m╰──╯\x1b[0m"


def test_of_a_terminal_what_was_erased_is_left_out_and_the_panel_near_the_middle_is_kept():
    up = "\r\x1b[2K\x1b[1A\x1b[2K\x1b[1A\x1b[2K"
    screen = Screen()
    screen.write("reading\r\x1b[2Kforecast: 2 s\r\n")
    screen.write(
        panel(10) + up + "step 20  valid 3.1\r\n" + panel(45) + up + panel(100) + "\r\n" + "\r\x1b[1A\x1b[2K" * 3
    )
    screen.write("done: 100 steps\r\nit writes\r\nsample more: ...\r\n/private/run\r\n")
    assert sample_of(screen) == [
        "forecast: 2 s",
        "",
        "╭──╮",
        "│ step 45/100 │",
        "╰──╯",
        "",
        "done: 100 steps",
        "it writes",
    ]


def test_a_demo_without_an_end_is_refused_in_one_line():
    screen = Screen()
    screen.write("lmlab: no room left\r\n")
    with pytest.raises(LabError, match="the demo printed no end"):
        sample_of(screen)
