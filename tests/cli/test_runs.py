"""`lmlab runs` on a run that was really trained."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pruning import occupied
from lmlab.runs import RunLock


@pytest.fixture
def one(lmlab, small):
    """The words' `lmlab`, and the folder of a finished run called one, with all checkpoints of its training."""
    status, _, errors = lmlab(*small, "--run", "one", "--quiet", "--train.keep_finished", "all")
    assert status == 0, errors
    return lmlab


def test_the_table_as_text_and_json(one, tmp_path):
    status, out, _ = one("runs")
    assert status == 0 and out.splitlines()[1].startswith("one  finished")
    status, out, _ = one("runs", "--json", "--sort", "loss", "--filter", "status=finished")
    (row,) = json.loads(out)["runs"]
    summary = json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())
    assert (row["name"], row["loss"], row["tokens"]) == ("one", summary["final"]["loss"], summary["tokens"])
    assert one("runs", "--filter", "loss<0")[1] == f"no runs in {tmp_path / 'runs'} satisfy this\n"


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
    assert one("runs", "prune", "two", "--yes")[1].startswith("nothing to prune: only the latest and the best")
    assert one("evaluate", "two")[0] == 0
    status, out, errors = one("runs", "rm", "two")
    assert status == 2 and "--yes" in errors and (folder / "two").is_dir()
    assert one("runs", "rm", "two", "--yes")[0] == 0
    assert list(folder.iterdir()) == []


def test_one_run_stands_on_a_page_and_as_json(one, tmp_path):
    folder = tmp_path / "runs" / "one"
    one("runs", "tag", "one", "night")
    one("train", "--from", "one@3", "--train.steps", "8", "--run", "child", "--quiet")
    status, out, _ = one("runs", "show", "one")
    summary = json.loads((folder / "summary.json").read_text())
    assert status == 0
    for said in (
        "one: finished", "6 steps of 2 sequences, seed 1", "characters, vocabulary 35", "cores of", "native on 1 thread, fp32",
        f"loss {summary['final']['loss']:.4f} nats a token", summary["verdict"]["reason"], "step 0: weights and optimizer",
        "latest and best", "night", "finished: 6 steps", "child branches off here",
        f"lmlab sample {folder} --prompt", f"lmlab train --from {folder} --train.steps 12",
    ):  # fmt: skip
        assert said in out, said
    assert "one@3" in one("runs", "show", "child")[1]
    value = json.loads(one("runs", "show", "one", "--json")[1])
    assert (value["name"], value["summary"], value["tags"]) == ("one", summary, ["night"])
    assert [kept["step"] for kept in value["checkpoints"]] == [0, 3, 6] and value["problems"] == []
    assert value["disk_bytes"] == occupied(folder) and value["events"][-1]["kind"] == "branch"


def test_the_page_of_a_damaged_run_names_what_is_damaged_and_shows_the_rest(one, tmp_path):
    folder = tmp_path / "runs" / "one"
    shutil.rmtree(folder / "checkpoints")
    (folder / "policy.json").write_text("{")
    (folder / "tags.json").write_text("[]")
    status, out, _ = one("runs", "show", "one")
    assert status == 0 and "its checkpoints are gone" in out and "policy.json is damaged" in out and "loss" in out
    assert f"lmlab train {folder / 'recipe.toml'}" in out and "lmlab sample" not in out


def test_all_runs_are_pruned_and_each_says_what_it_frees_and_what_still_works(one, tmp_path):
    runs = tmp_path / "runs"
    for name in ("two", "busy"):
        shutil.copytree(runs / "one", runs / name)
    assert one("runs", "prune", "one", "--checkpoints", "--yes")[0] == 0
    before = occupied(runs / "two" / "checkpoints")
    with RunLock(runs / "busy"):
        status, out, _ = one("runs", "prune", "--all", "--yes")
    assert status == 0 and "busy: is running, and is left unchanged" in out
    assert "one: " not in out, "nothing is left to free there"
    (line,) = [line for line in out.splitlines() if line.startswith("two: ")]
    assert "2 checkpoints keep only weights; then training continues exactly, and can be proven, from step 6" in line
    assert "sample, evaluate and train --from work at steps 0, 3, 6" in line
    freed = float(re.search(r"frees ([\d.]+) MB", line)[1])
    assert (before - occupied(runs / "two" / "checkpoints")) / 1e6 == pytest.approx(freed, abs=0.06)
    assert one("runs", "prune", "--all", "one")[0] == 2
    assert one("runs", "prune")[0] == 2


def test_checkpoints_that_go_leave_step_0_where_its_seed_gives_it_again(one, tmp_path):
    checkpoints = tmp_path / "runs" / "one" / "checkpoints"
    kept, _ = find(checkpoints, "0")
    before = kept.sha256_of("weights")
    status, out, _ = one("runs", "prune", "one", "--checkpoints", "--yes")
    assert status == 0 and "2 checkpoints are removed; then" in out and "step 0 is regenerated from its seed" in out
    assert steps(checkpoints) == [6] and one("evaluate", "one@init")[0] == 0 and one("prove", "one@init")[0] == 0
    status, out, _ = one("train", "--from", "one@init", "--train.steps", "8", "--run", "child", "--quiet")
    origin = json.loads((tmp_path / "runs" / "child" / "origin.json").read_text())
    assert status == 0 and origin["parent"]["weights_sha256"] == before


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
        (["--filter", "loss"], "is not a condition"),
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
