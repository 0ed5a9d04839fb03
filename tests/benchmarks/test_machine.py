"""A result says which command made it, of which commit, and whether the source had changes; private folders stay out."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import machine, small_runs
from benchmarks.machine import changed_files, command, context
from benchmarks.worker import ROOT

PROBE = """
import json
from benchmarks.machine import command
print(json.dumps(command()))
"""


@pytest.fixture
def checkout(tmp_path):
    """A repository with a source file, a result and a page, all committed."""
    for name in ("lmlab/a.py", "docs/a.json", "benchmarks/results/a.json", "README.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as committed\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all")
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def test_the_module_that_runs_is_the_one_that_is_recorded(tmp_path):
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "probe.py").write_text(PROBE)
    (tmp_path / "tool" / "__main__.py").write_text(PROBE)
    for module, recorded in (("tool.probe", "tool.probe"), ("tool", "tool")):
        said = subprocess.run(
            [sys.executable, "-m", module, "table", "--rounds", "3"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
        assert json.loads(said.stdout) == ["python", "-m", recorded, "table", "--rounds", "3"]


@pytest.mark.parametrize(
    ("word", "recorded"),
    [
        ("--rounds", "--rounds"),
        ("input.txt", "input.txt"),
        ("/somewhere/private/input.txt", "input.txt"),
        ("--data.corpus=/somewhere/private/input.txt", "--data.corpus=input.txt"),
        ("../private/input.txt", "input.txt"),
        (str(ROOT / "benchmarks" / "results" / "speed.json"), "benchmarks/results/speed.json"),
        ("10 min", "10 min"),
        ("1e-3", "1e-3"),
    ],
)
def test_words_are_recorded_without_the_folders_of_the_machine(monkeypatch, word, recorded):
    monkeypatch.setattr(sys, "argv", ["x", word])
    assert command()[-1] == recorded


def test_a_clean_checkout_has_no_changes_and_results_and_pages_are_none(checkout):
    assert changed_files(checkout) == []
    for name in ("docs/a.json", "docs/new.json", "benchmarks/results/a.json", "README.md"):
        (checkout / name).write_text("rendered\n")
    assert changed_files(checkout) == []


@pytest.mark.parametrize("name", ["lmlab/a.py", "lmlab/new.py", "benchmarks/new.py", "pyproject.toml"])
def test_a_changed_and_a_new_file_of_source_are_changes(checkout, name):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("edited\n")
    assert changed_files(checkout) == [name]


def test_a_folder_without_git_is_neither_clean_nor_dirty(tmp_path):
    assert changed_files(tmp_path) is None


def test_a_dirty_tree_is_recorded_and_told_on_stderr(checkout, monkeypatch, capsys):
    monkeypatch.setattr(machine, "ROOT", checkout)
    assert context(None)["source"]["dirty"] is False and capsys.readouterr().err == ""
    (checkout / "lmlab" / "a.py").write_text("edited\n")
    assert context(None)["source"]["dirty"] is True
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "lmlab/a.py differs from the commit" in said and "commit or stash" in said


def test_trainings_of_small_runs_are_recorded_as_of_the_tree_before_the_first_of_them(tmp_path, monkeypatch):
    """The second training's record is of the tree before the first one's result was written."""
    happened = []
    monkeypatch.setattr(small_runs, "context", lambda nanogpt: happened.append("context") or made_up())
    monkeypatch.setattr(small_runs, "SHORT", tmp_path / "small-runs.json")
    monkeypatch.setattr(small_runs, "_to_run", lambda data: iter([(n, ("a", "shakespeare-cpu", "")) for n in (0, 1)]))
    outcome = type("Outcome", (), {"summary": {"final": {"loss": 1.0}}})()
    monkeypatch.setattr(small_runs, "train_or_resume", lambda *a, **b: happened.append("train") or outcome)
    small_runs.run(tmp_path, tmp_path)
    assert happened == ["context", "train", "train"]
    [case] = json.loads((tmp_path / "small-runs.json").read_text())["cases"]
    assert (case["commit"], case["dirty"]) == ("c", False)


def made_up():
    return {"source": {"commit": "c", "dirty": False}}
