"""A replay equals what was recorded, or names the first step and tensor that don't, and why."""

import json
import shutil

import pytest

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.pruning import Retention
from lmlab.checkpoint.saving import save_and_point
from lmlab.cli import main
from lmlab.experiment.judging import checkpoint_in
from lmlab.experiment.proving import prove
from lmlab.experiment.start import train
from lmlab.recipe import override
from lmlab.runs import open_run
from lmlab.training.display import Quiet


@pytest.fixture
def run(engine, small_recipe, untouched, tmp_path):
    """A copy of a run: 12 steps with checkpoints of steps 0, 4, 5, 8, 10 and 12, samples, dropout and evaluations."""
    settings = {
        "train.engine": engine,
        "model.dropout": "0.1",
        "evaluate.prompts": "The",
        "evaluate.sample_tokens": "4",
    }
    whole = untouched(override(small_recipe, settings)).run
    shutil.copytree(whole.folder, tmp_path / "proven")
    return open_run("proven", tmp_path)[0]


def everything(run):
    return {path: path.read_bytes() for path in sorted(run.folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("first", [0, 4, 5, 8, 10])
def test_a_replay_from_any_checkpoint_to_the_next_is_equal_and_changes_nothing(run, first):
    before = everything(run)
    proof = prove(f"{run.folder}@{first}", say=lambda line: None)
    assert proof.equal and proof.first == first and proof.tensors > 20 and proof.largest_difference == 0
    assert everything(run) == before


def test_without_a_step_the_last_stretch_is_replayed(run, tmp_path, capsys):
    assert main(["prove", "proven", "--runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["equal"] and (found["first"], found["last"]) == (10, 12) and found["lines"] == 1
    assert found["batches"] == 2 and found["tensors"] > 20
    assert main(["prove", "proven@0", "--steps", "11", "--runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    # Lines of training at 3, 6 and 9, evaluations and samples at 5 and 10; the last line's hash is of nine batches.
    assert "steps 0 to 11 of proven came out bit for bit as recorded: 7 lines, 9 batches" in told
    assert "Only logged losses were compared; step 11 has no checkpoint." in told


def test_a_replay_that_would_compare_nothing_is_no_proof_and_says_what_there_is(run, tmp_path, capsys):
    shutil.rmtree(run.checkpoints / "step-00000012")
    # Steps 11 and 12 after the checkpoint of step 10: of 11 there is neither a line nor a checkpoint.
    assert main(["prove", "proven@10", "--steps", "1", "--runs", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == "", "nothing is replayed"
    assert "nothing is recorded for step 11 of proven" in told.err and told.err.count("\n") == 1
    assert "its next line is of step 12, and no checkpoint is kept after step 10: use --steps 2 or more" in told.err
    assert main(["prove", "proven@0", "--steps", "2", "--runs", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "its next line is of step 3, its next checkpoint of step 4: use --steps 3 or more, or --steps 4 for" in told
    assert main(["prove", "proven@5", "--steps", "1", "--runs", str(tmp_path)]) == 0, "the line of step 6"
    assert main(["prove", "proven@5", "--steps", "-3", "--runs", str(tmp_path)]) == 2


def test_a_checkpoint_alone_is_compared_where_no_line_is(run, tmp_path, capsys):
    path = run.folder / "metrics.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] >= 8]
    path.write_text("".join(line + "\n" for line in kept))
    (run.folder / "samples.jsonl").unlink()
    proof = prove(f"{run.folder}@5", say=lambda line: None)
    assert not proof.equal and proof.difference.recorded == "no such line", "a line that was lost is a difference"
    assert main(["prove", "proven@4", "--runs", str(tmp_path)]) == 0
    assert "0 lines, 0 batches" in capsys.readouterr().out


def test_weights_that_were_changed_are_named(run, tmp_path, capsys):
    checkpoint, _ = find(run.checkpoints, "8")
    parts = {part: checkpoint.tensors(part) for part in ("weights", "optimizer")}
    parts["weights"]["blocks.1.mlp.up.weight"][0, 0] += 1e-3
    save_and_point(run.checkpoints, 8, parts, checkpoint.state, retention=Retention(keep=99))
    proof = prove(f"{run.folder}@5", say=lambda line: None)
    assert not proof.equal and proof.difference.what == "weights blocks.1.mlp.up.weight" and proof.difference.step == 8
    assert proof.largest_difference == pytest.approx(1e-3, rel=1e-3)
    assert "suspect memory" in proof.reasons[0]
    assert main(["prove", "proven@5", "--runs", str(tmp_path)]) == 1
    assert "not proven: steps 5 to 8" in capsys.readouterr().out


def test_a_line_that_was_changed_is_named_with_its_step(run):
    path = run.folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "train" and line["step"] == 6:
            line["batches"] = "0" * 64
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    proof = prove(f"{run.folder}@5", say=lambda line: None)
    assert (proof.difference.step, proof.difference.what) == (6, "the batches")


def test_another_version_or_thread_count_is_given_as_the_likely_reason(run, monkeypatch):
    path = run.folder / "segments.jsonl"
    (line,) = path.read_text().splitlines()
    value = json.loads(line)
    value["torch"] = "1.0"
    value["policy"]["threads"] = 7
    path.write_text(json.dumps(value) + "\n")
    checkpoint, _ = find(run.checkpoints, "8")
    parts = {part: checkpoint.tensors(part) for part in ("weights", "optimizer")}
    parts["weights"]["norm.weight" if "norm.weight" in parts["weights"] else "embedding.weight"][0] += 1.0
    save_and_point(run.checkpoints, 8, parts, checkpoint.state, retention=Retention(keep=99))
    reasons = prove(f"{run.folder}@5", say=lambda line: None).reasons
    assert reasons[0].startswith("threads was 7, is 1") and reasons[1].startswith("torch was 1.0")


def test_a_run_with_nothing_to_replay_says_so(small_recipe, tmp_path):
    recipe = override(small_recipe, {"train.keep": "1", "train.keep_optimizer": "latest", "evaluate.every": "12"})
    run = train(recipe, runs=tmp_path, display=Quiet()).run
    assert checkpoint_in(run, "init")[0].parts == ["weights"]
    with pytest.raises(LabError, match="can't be replayed"):
        prove(str(run.folder))
