"""Folders that can't be: a file, a name that is too long, a place where nobody can write; one line for every verb."""

import errno
import os
from types import SimpleNamespace

import pytest

from lmlab.cli import VERBS
from tests.cli.test_bad_input import assert_refused

LONG = "n" * 300
READING = {
    "sample": ["one"], "chat": ["one"], "evaluate": ["one"], "resume": ["one"], "prove": ["one"], "events": ["one"],
    "report": ["one"], "compare": ["one", "two"], "explain": ["one", "two"], "verify": ["one"],
}  # fmt: skip
"""Verbs that look for runs, with what they need."""
TABLES = [
    ["runs"],
    ["runs", "rm", "one"],
    ["runs", "prune", "one"],
    ["runs", "tag", "one"],
    ["runs", "rename", "one", "two"],
]
PLANS = [["plan", "--from", "one"], ["plan", "--score"], ["train", "--from", "one"], ["import", "log", "log.csv"]]


@pytest.fixture
def places(tmp_path):
    """What can be no folder of runs, by name."""
    (tmp_path / "file").write_text("x")
    return {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "deeper",
        "too long": tmp_path / LONG,
        "too long a path": tmp_path / os.path.join(*["abc"] * 2000),
    }


@pytest.mark.parametrize("words", [[verb, *more] for verb, more in READING.items()] + TABLES + PLANS, ids=" ".join)
@pytest.mark.parametrize("place", ["a file", "below a file", "too long", "too long a path"])
@pytest.mark.parametrize("given", ["flag", "variable"])
def test_a_folder_of_runs_that_cannot_be_is_told_by_every_verb(lmlab, places, monkeypatch, words, place, given):
    runs = str(places[place])
    if given == "flag":
        result = lmlab(*words, "--runs", runs)
    else:
        monkeypatch.setenv("LMLAB_RUNS", runs)
        result = lmlab(*words)
    assert_refused(result, 1, "--runs is" if given == "flag" else "LMLAB_RUNS is", "expected a folder")
    assert len(result[2]) < 600, "a path is shown in part where it is long"


@pytest.mark.parametrize("place", ["a file", "below a file", "too long", "too long a path"])
def test_a_cache_that_cannot_be_is_told(lmlab, places, small, monkeypatch, place):
    monkeypatch.setenv("LMLAB_CACHE", str(places[place]))
    for words in (small, ["data", "prepare", small[1]], ["data", "show"], ["plan", *small[1:]]):
        status, _, errors = lmlab(*words)
        assert status == 1 and "LMLAB_CACHE is" in errors and "expected a folder" in errors.splitlines()[-1]
        assert "Traceback" not in errors


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nobody can make one")
@pytest.mark.parametrize("place", ["/proc", "/proc/x", "/dev/null/y"])
def test_a_place_where_nothing_can_be_made_is_told_before_anything_is_tried(lmlab, small, place):
    status, output, errors = lmlab(*small, "--runs", place)
    (line,) = errors.strip().splitlines()
    assert status == 1 and line.startswith("lmlab: ") and place in line
    assert "forecast" not in output


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(lmlab, small, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o500)
    assert_refused(lmlab(*small, "--runs", tmp_path / "mine"), 1, "can't be written by this user", "--runs")


@pytest.mark.parametrize(
    "words",
    [
        ["verify", LONG], ["import", "log", LONG], ["train", LONG], ["data", "show", LONG], ["data", "check", LONG],
        ["evaluate", "one", "--on", LONG], ["sample", "one", "--prompts-file", LONG], ["resume", LONG], ["plan", LONG],
    ],
    ids=lambda words: " ".join(words)[:20],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_told(lmlab, words):
    for name in (LONG, "/".join(["abc"] * 2000)):
        status, _, errors = lmlab(*(word.replace(LONG, name) for word in words))
        assert status in (1, 2) and errors.startswith("lmlab: ") and errors.count("\n") == 1


def test_what_the_system_refuses_in_any_verb_is_one_line(lmlab, monkeypatch):
    """The rule for all verbs: also for a file that a verb reads without asking first."""

    class Refusing:
        @staticmethod
        def run(arguments):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/deeper")

    monkeypatch.setattr("lmlab.cli.importlib", SimpleNamespace(import_module=lambda name: Refusing))
    for verb in VERBS:
        assert_refused(lmlab(verb), 1, "/dev/null/deeper")
