"""`lmlab runs` on a run that was really trained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmlab.runs import RunLock


@pytest.fixture
def one(lmlab, small):
    """The words' `lmlab`, and the folder of a finished run called one."""
    status, _, errors = lmlab(*small, "--run", "one", "--quiet")
    assert status == 0, errors
    return lmlab


def test_the_table_as_text_and_json(one, tmp_path):
    status, out, _ = one("runs")
    assert status == 0 and out.splitlines()[1].startswith("one  finished")
    status, out, _ = one("runs", "--json", "--sort", "loss", "--filter", "status=finished")
    (row,) = json.loads(out)["runs"]
    summary = json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())
    assert (row["name"], row["loss"], row["tokens"]) == ("one", summary["final"]["loss"], summary["tokens"])
    assert one("runs", "--filter", "loss<0")[1] == f"no runs in {tmp_path / 'runs'} meet this\n"


def test_tag_rename_prune_and_remove(one, tmp_path):
    folder = tmp_path / "runs"
    assert one("runs", "tag", "one", "night", "x")[1] == "one: night, x\n"
    assert one("runs", "tag", "one", "--remove", "x")[1] == "one: night\n"
    assert one("runs", "tag", "one")[1] == "one: night\n"
    assert "one" in one("runs", "--filter", "tag=night")[1]
    assert one("runs", "rename", "one", "two")[1] == "one is now two\n"
    before = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    status, out, _ = one("runs", "prune", "two", "--yes")
    assert status == 0 and "keep only weights" in out and "freed" in out
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < before
    assert one("runs", "prune", "two", "--yes")[1].endswith("nothing to prune\n")
    assert one("evaluate", "two")[0] == 0
    status, out, errors = one("runs", "rm", "two")
    assert status == 2 and "--yes" in errors and (folder / "two").is_dir()
    assert one("runs", "rm", "two", "--yes")[0] == 0
    assert list(folder.iterdir()) == []


def test_a_run_at_work_is_not_touched(one, tmp_path):
    with RunLock(tmp_path / "runs" / "one"):
        for words in (["rm", "one", "--yes"], ["rename", "one", "two"], ["prune", "one", "--yes"]):
            status, _, errors = one("runs", *words)
            assert status == 1 and ("running" in errors or "in use" in errors)
        assert "one  running" in one("runs")[1]


def test_of_several_runs_none_goes_where_one_is_unknown(one, tmp_path):
    status, _, errors = one("runs", "rm", "one", "three", "--yes")
    assert status == 1 and "there is no run 'three'" in errors
    assert (tmp_path / "runs" / "one").is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["renam"], "did you mean rename?"),
        (["rm"], "needs a run"),
        (["--sort", "los"], "did you mean loss?"),
        (["--filter", "loss"], "is no condition"),
        (["--descending"], "needs --sort"),
        (["--watch", "--json"], "excludes --json"),
        (["--watch"], "needs a terminal"),
    ],
)
def test_wrong_usage_is_answered_in_one_line(lmlab, words, said):
    status, out, errors = lmlab("runs", *words)
    assert (status, out) == (2, "") and said in errors and errors.count("\n") == 1


def test_an_empty_folder_has_no_runs(lmlab, tmp_path):
    assert lmlab("runs") == (0, f"no runs in {tmp_path / 'runs'}\n", "")


def test_the_table_needs_no_torch(tmp_path):
    (tmp_path / "log.txt").write_text("s:0 tel:3.0\n")
    code = (
        "import sys\nfrom lmlab.cli import main\n"
        f"main(['import', 'log', {str(tmp_path / 'log.txt')!r}, '--runs', {str(tmp_path)!r}])\n"
        f"main(['runs', '--runs', {str(tmp_path)!r}])\nprint('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "False False" and "imported" in found.stdout
