"""Whole studies of tiny runs: shared, stopped, killed, gone on with, and verified."""

import errno
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmlab import LabError, StorageError
from lmlab.cli import main
from lmlab.files import Storage
from lmlab.planning.trials.child import environment
from lmlab.recipe import Recipe, override, to_toml
from lmlab.runs import Run, RunLock
from lmlab.scaling.estimate import Estimate
from lmlab.stats import seed_noise
from lmlab.stats.verdict import verdict
from lmlab.study.grid import pruning_runs
from lmlab.study.grid.definition import asked
from lmlab.study.grid.holding import forget, holding, noted
from lmlab.study.grid.pool import COMMAND, work_together
from lmlab.study.grid.studying import StudyWishes, resolve_plan, study
from lmlab.study.grid.worker import Work, is_done, request_of, work_through
from lmlab.study.verify.verification import verify
from lmlab.training.display import Quiet
from tests.stopping import StopAfterNotes

SMALL = {
    "name": "small", "data.tokenizer": "characters", "data.vocabulary": "none", "data.split": "tail",
    "model.layers": "1", "model.heads": "2", "model.width": "16", "model.context": "16",
    "train.steps": "12", "train.batch": "4", "train.threads": "1", "train.device": "cpu", "train.engine": "torch",
    "train.checkpoint_every": "4", "evaluate.every": "4", "optim.lr": "0.01",
}  # fmt: skip


@pytest.fixture
def recipe_file(tiny_text_file, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(to_toml(override(Recipe(), {**SMALL, "data.corpus": str(tiny_text_file)})))
    return str(path)


@pytest.fixture
def definition(recipe_file):
    return asked(recipe_file, ["optim.lr=0.001", "model.dropout=0.5"], {}, seeds=2, name="try")


@pytest.fixture
def pair(recipe_file):
    """The same with two cells."""
    return asked(recipe_file, ["optim.lr=0.001"], {}, seeds=2, name="try")


def studied(definition, runs, **wishes):
    lines: list[str] = []
    result = study(definition, runs, StudyWishes(**wishes), say=lines.append)
    return result, lines


def test_a_study_is_ordinary_runs_with_effects_that_its_own_losses_give(definition, tmp_path):
    result, lines = studied(definition, tmp_path / "runs")
    assert any("6 runs to train, about" in line and "measured" in line for line in lines)
    names = [f"try-{cell}-s{seed}" for seed in (1, 2) for cell in ("baseline", "lr-0.001", "dropout-0.5")]
    assert [run.name for run in result.cells.runs] == names and result.complete
    losses = {name: Run(tmp_path / "runs" / name).summary()["final"]["loss"] for name in names}
    slow = (losses["try-lr-0.001-s1"] + losses["try-lr-0.001-s2"]) / 2
    base = (losses["try-baseline-s1"] + losses["try-baseline-s2"]) / 2
    effect = result.effects[0]
    assert effect.name == "lr 0.001" and effect.verdict.difference == pytest.approx(slow - base)
    noise = seed_noise(
        {cell: [losses[f"try-{cell}-s{seed}"] for seed in (1, 2)] for cell in ("baseline", "lr-0.001", "dropout-0.5")}
    )
    without_text = verdict(slow - base, 0.0, noise, 2, 2)
    assert effect.verdict.low <= without_text.low < without_text.high <= effect.verdict.high
    # Once more trains nothing and finds the same.
    again, lines = studied(definition, tmp_path / "runs")
    assert not any("to train" in line for line in lines)
    assert again.to_json() == result.to_json()


def test_a_run_that_another_worker_holds_is_left_to_it(pair, tmp_path):
    runs = tmp_path / "runs"
    plan = resolve_plan(pair, runs, print)
    work = Work(runs=runs, study=plan.folder(runs))
    theirs = plan.runs[1].name
    with holding(work.study, theirs) as held:
        assert held
        assert work_through(plan, work, Quiet(), print)
        assert [one.name for one in plan.runs if not is_done(one, work)] == [theirs]
    assert not (runs / theirs).exists()
    assert work_through(plan, work, Quiet(), print)
    assert all(is_done(one, work) for one in plan.runs)


def test_other_tokens_are_compared_in_bits_per_byte_and_other_texts_not_at_all(recipe_file, tmp_path):
    result, _ = studied(asked(recipe_file, ["data.tokenizer=bytes"], {}, seeds=1, name="tokens"), tmp_path / "runs")
    assert result.cells.measure == "bits per byte"
    for run in result.cells.runs:
        assert run.loss == Run(tmp_path / "runs" / run.name).summary()["final"]["bits_per_byte"]
    with pytest.raises(LabError, match="texts-valid_share-0.3-s1 were scored on different texts"):
        studied(asked(recipe_file, ["data.valid_share=0.3"], {}, seeds=1, name="texts"), tmp_path / "runs")


def test_ctrl_c_saves_and_the_same_command_ends_as_an_untouched_study(pair, tmp_path):
    whole, _ = studied(pair, tmp_path / "whole")
    stopped = study(pair, tmp_path / "runs", StudyWishes(), display=StopAfterNotes(6), say=lambda line: None)
    assert stopped.stopped and not stopped.complete
    result, _ = studied(pair, tmp_path / "runs")
    assert result.complete and result.cells.means() == whole.cells.means()


def test_a_worker_that_is_killed_leaves_its_run_to_the_next(recipe_file, tmp_path):
    runs = tmp_path / "runs"
    longer = asked(recipe_file, ["optim.lr=0.001"], {"train.steps": "4000"}, seeds=1, name="try")
    plan = resolve_plan(longer, runs, print)
    work = Work(runs=runs, study=plan.folder(runs))
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment())
    process.stdin.write(request_of(work) + "\n")
    process.stdin.flush()
    saved = runs / plan.runs[0].name / "checkpoints" / "latest.json"
    deadline = time.monotonic() + 60
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not is_done(plan.runs[0], work)
    with holding(work.study, plan.runs[0].name) as held:
        assert held
    process.stdin.close()


def test_two_workers_train_each_run_once(recipe_file, tmp_path):
    definition = asked(recipe_file, ["optim.lr=0.001"], {}, seeds=1, name="try")
    result, lines = studied(definition, tmp_path / "runs", workers=2)
    assert result.complete and sum("loss" in line for line in lines) == 2
    assert all(len(Run(tmp_path / "runs" / run.name).read_lines("segments")) == 1 for run in result.cells.runs)


def test_each_worker_has_a_gpu_of_its_own_as_long_as_there_are_enough(tmp_path, monkeypatch):
    program = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"
    monkeypatch.setattr("lmlab.study.grid.pool.COMMAND", (sys.executable, "-P", "-c", program))
    work, lines = Work(runs=tmp_path, study=tmp_path / "study"), []
    assert work_together(work, 3, lines.append, ["4", "GPU-bb"])
    assert sorted(lines) == ["4", "4", "GPU-bb"]
    lines.clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert work_together(work, 2, lines.append) and lines == ["all", "all"]


def test_a_run_that_can_t_be_trained_is_named_and_the_others_go_on(recipe_file, tmp_path):
    definition = asked(recipe_file, ["data.corpus=nowhere.txt", "optim.lr=0.001"], {}, seeds=1, name="try")
    plan = resolve_plan(definition, tmp_path, print)
    work = Work(runs=tmp_path, study=plan.folder(tmp_path))
    assert work_through(plan, work, Quiet(), print)
    assert "nowhere.txt" in noted(work.study, "try-corpus-nowhere.txt-s1", "failed")["reason"]
    assert (tmp_path / "try-lr-0.001-s1" / "summary.json").exists()


def full(storage_write, place="checkpoints"):
    """A disk that has no room for what is written to a folder of that name."""

    def write(self, file, content):
        if place in str(file.name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        storage_write(self, file, content)

    return write


def test_a_full_disk_stops_the_study_and_no_run_counts_as_failed(pair, recipe_file, tmp_path, monkeypatch, capsys):
    whole, _ = studied(pair, tmp_path / "whole")
    runs = tmp_path / "runs"
    words = ["study", recipe_file, "--vary", "optim.lr=0.001", "--seeds", "2", "--name", "try", "--runs", str(runs)]
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write", full(Storage.write, "try-baseline-s1/checkpoints"))
        assert main([*words, "--quiet"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lmlab: try-baseline-s1: ") and "No space left on device" in said and said.count("\n") == 1
    assert list((runs / "study-try" / "held").glob("*.json")) == []
    result, _ = studied(pair, runs)
    assert result.complete and result.cells.means() == whole.cells.means()


def test_a_full_disk_stops_all_workers_with_one_line(pair, tmp_path, monkeypatch):
    program = (
        "import errno, os, runpy\nfrom lmlab.files import Storage\nwhole = Storage.write\n"
        "def write(self, file, content):\n"
        "    if 'try-baseline-s1/checkpoints' in str(file.name): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "    whole(self, file, content)\n"
        "Storage.write = write\nrunpy.run_module('lmlab.study.grid.worker', run_name='__main__')"
    )
    with monkeypatch.context() as patched:
        patched.setattr("lmlab.study.grid.pool.COMMAND", (sys.executable, "-P", "-c", program))
        lines: list[str] = []
        with pytest.raises(StorageError, match="^try-baseline-s1: .*No space left on device"):
            study(pair, tmp_path, StudyWishes(workers=2), say=lines.append)
    assert not any("No space" in line or "failed" in line for line in lines)
    assert list((tmp_path / "study-try" / "held").glob("*.json")) == []
    assert studied(pair, tmp_path, workers=2)[0].complete


def test_a_run_that_another_process_trains_isn_t_failed(pair, tmp_path, monkeypatch):
    plan = resolve_plan(pair, tmp_path, print)
    work, theirs = Work(runs=tmp_path, study=plan.folder(tmp_path)), plan.runs[0].name
    assert work_through(plan, work, Quiet(), print)
    (tmp_path / theirs / "summary.json").unlink()
    looked = iter([False])
    monkeypatch.setattr(
        "lmlab.study.grid.worker.is_locked", lambda folder: next(looked, True)
    )  # they come right after it
    lines: list[str] = []
    with RunLock(tmp_path / theirs):
        assert work_through(plan, work, Quiet(), lines.append)
    assert lines == [line for line in lines if line.startswith(f"{theirs} is left to another process")] != []
    assert noted(work.study, theirs, "failed") is None


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_the_folder_of_notes_is_no_link(pair, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.failed.json").write_text("{}")
    folder = resolve_plan(pair, tmp_path, print).folder(tmp_path)
    (folder / "held").symlink_to(elsewhere, target_is_directory=True)
    for use in (lambda: forget(folder, "failed"), lambda: holding(folder, "run").__enter__()):
        with pytest.raises(LabError, match="held is a link"):
            use()
    assert [path.name for path in elsewhere.iterdir()] == ["mine.failed.json"]
    (folder / "held").unlink()
    (folder / "held").mkdir()
    (folder / "held" / "run.lock").symlink_to(tmp_path / "made")
    with pytest.raises(StorageError, match="held can't be used"), holding(folder, "run"):
        pass
    assert not (tmp_path / "made").exists()


def test_what_killed_writers_left_goes_with_the_next_command_once_it_is_old(pair, tmp_path):
    folder = resolve_plan(pair, tmp_path, print).folder(tmp_path)
    (folder / "held").mkdir()
    old = [place / ".notes.json.0123456789abcdef.tmp" for place in (folder, folder / "held")]
    young = folder / "held" / ".notes.json.fedcba9876543210.tmp"  # of another worker, at this instant
    for path in (*old, young):
        path.write_text("half")
    for path in old:
        os.utime(path, (1e9, 1e9))
    studied(pair, tmp_path, budget_seconds=1e-3)
    assert young.exists() and not any(path.exists() for path in old)


def test_a_loser_that_can_t_be_asked_to_stop_is_not_noted_as_one(pair, tmp_path, monkeypatch):
    hopeless = Estimate(value=9.0, low=8.0, high=10.0, evidence="extrapolated")
    monkeypatch.setattr(pruning_runs, "heading_for", lambda recipe, steps, losses: hopeless)
    real = Path.touch

    def refused(self, *arguments, **options):
        if self.name == "stop":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        real(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", refused)
        with pytest.raises(StorageError, match="Read-only file system"):
            studied(pair, tmp_path, stop_losers=True)
    assert noted(tmp_path / "study-try", "try-lr-0.001-s1", "lost") is None
    assert studied(pair, tmp_path)[0].complete


def test_what_can_t_win_is_stopped_if_asked_and_trained_on_if_not(pair, tmp_path, monkeypatch):
    hopeless = Estimate(value=9.0, low=8.0, high=10.0, evidence="extrapolated")
    monkeypatch.setattr(pruning_runs, "heading_for", lambda recipe, steps, losses: hopeless if steps[-1] == 4 else None)
    monkeypatch.setattr("lmlab.training.signals.POLL_SECONDS", 0.0)
    result, _ = studied(pair, tmp_path, stop_losers=True)
    status = {run.name: run.status for run in result.cells.runs}
    assert status["try-baseline-s1"] == status["try-baseline-s2"] == "finished"
    assert status["try-lr-0.001-s1"] == "lost" and "heading for 9.0000" in result.cells.runs[1].note
    # Its effect is a bound, which can be made again from the stopped run's curve.
    (effect,) = result.effects
    assert effect.bound == "at least" and effect.words == "worse"
    base = [run.loss for run in result.cells.runs if run.loss is not None]
    assert 0.0 < effect.verdict.difference < 9.1 - sum(base) / len(base)
    path = tmp_path / "study-try" / "study.json"
    said = json.loads(path.read_text())
    assert said["runs"][1]["stopped"] == {"step": 4, "expected": 9.0, "low": 8.0}
    assert [cell.get("stopped") for cell in said["cells"]] == [None, 2]
    assert verify(path, tmp_path).holds
    said["runs"][1]["stopped"]["expected"] = 9.5
    path.write_text(json.dumps(said))
    assert not verify(path, tmp_path).holds
    assert studied(pair, tmp_path, stop_losers=True)[0].complete
    result, _ = studied(pair, tmp_path)
    assert all(run.status == "finished" for run in result.cells.runs)


def test_a_study_goes_on_with_other_threads_and_not_with_other_science_or_arithmetic(recipe_file, tmp_path):
    def of(**settings):
        named = {name.replace("_", "."): value for name, value in settings.items()}
        return asked(recipe_file, ["optim.lr=0.001"], named, seeds=1, name="try")

    first, _ = studied(of(train_threads="1"), tmp_path)
    again, lines = studied(of(train_threads="2"), tmp_path)
    assert [run.id for run in again.cells.runs] == [run.id for run in first.cells.runs]
    assert not any("to train" in line for line in lines)
    assert again.plan.base.train.threads == 2 and studied(of(), tmp_path)[0].complete
    for settings in ({"train_batch": "2"}, {"train_precision": "bf16"}):
        with pytest.raises(LabError, match="holds another study"):
            studied(of(**settings), tmp_path)


def test_a_budget_begins_no_run_that_would_be_late(pair, tmp_path):
    result, lines = studied(pair, tmp_path, budget_seconds=1e-3)
    assert all(run.status == "missing" for run in result.cells.runs)
    assert any("more than the budget" in line for line in lines)


def test_verify_holds_every_number_against_the_runs_whatever_they_are_called(definition, tmp_path, capsys):
    runs = tmp_path / "runs"
    studied(definition, runs)
    path = runs / "study-try" / "study.json"
    (runs / "try-baseline-s1").rename(runs / "renamed")
    found = verify(path, runs)
    assert found.holds and len(found.claims) > 40
    assert main(["verify", str(path)]) == 0
    value = json.loads(path.read_text())
    value["effects"][0]["difference"] += 1e-4
    value["runs"][2]["loss"] -= 1e-4
    path.write_text(json.dumps(value))
    capsys.readouterr()
    assert main(["verify", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == ["runs.try-dropout-0.5-s1.loss", "effects[0].difference"]
    (runs / "renamed").rename(tmp_path / "elsewhere")
    assert main(["verify", str(path)]) == 1
    assert "run try-baseline-s1 (" in capsys.readouterr().out


def test_the_command_prints_effects_and_writes_plot_and_tables(recipe_file, tmp_path, capsys):
    words = ["study", recipe_file, "--vary", "optim.lr=0.001", "--seeds", "2", "--name", "try", "--runs", str(tmp_path)]
    assert main([*words, "--quiet"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("lr 0.001") and "alone, against the baseline" in line for line in printed)
    assert all(Path(path).stat().st_size > 500 for path in printed[-4:])
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["complete"] and value["effects"][0]["cells"] == {"lr 0.001": 1.0, "baseline": -1.0}
    of_baseline = [run for run in value["runs"] if run["cell"] == "baseline"]
    perplexity = math.exp(sum(run["loss"] for run in of_baseline) / len(of_baseline))
    accuracy = sum(run["accuracy"] for run in of_baseline) / len(of_baseline)
    (line,) = [line for line in printed if line.startswith("baseline") and "%" in line]
    assert line.split()[1:3] == [f"{perplexity:,.2f}", f"{accuracy:.1%}"]
    assert any(line.split()[-6:] == ["ms", "a", "step", "s", "an", "epoch"] for line in printed)
    assert (
        main(
            [
                "study",
                recipe_file,
                "--vary",
                "optim.lr=0.002",
                "--name",
                "try",
                "--optim.clip",
                "2",
                "--runs",
                str(tmp_path),
            ]
        )
        == 1
    )
    assert "holds another study" in capsys.readouterr().err
