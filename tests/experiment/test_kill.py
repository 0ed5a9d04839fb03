"""SIGKILL at a random step, then a resume: the same end, to the last bit."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from lmlab.checkpoint.finding import find
from lmlab.experiment.resuming import resume
from lmlab.experiment.start import train
from lmlab.recipe import override, to_toml
from lmlab.runs import open_run

STEPS = 400


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_process_killed_at_a_random_step_and_resumed_ends_bit_for_bit_the_same(small_recipe, tmp_path):
    recipe = override(
        small_recipe,
        {"train.steps": str(STEPS), "train.checkpoint_every": "20", "evaluate.every": "50", "model.dropout": "0.1"},
    )
    (tmp_path / "killed.toml").write_text(to_toml(recipe))
    words = ["train", str(tmp_path / "killed.toml"), "--run", "killed", "--runs", str(tmp_path), "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "lmlab", *words])
    metrics = tmp_path / "killed" / "metrics.jsonl"
    # Another step at each run of the tests: any of them must do.
    wanted = random.randrange(3, STEPS - 50) // 3
    while process.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b'"train"') < wanted):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    run, _ = open_run("killed", tmp_path)
    assert run.status() == "stopped"
    resumed = resume("killed", runs=tmp_path)
    whole = train(recipe, run="whole", runs=tmp_path)
    assert resumed.summary["final"]["loss"] == whole.summary["final"]["loss"]
    left, right = find(whole.run.checkpoints, "latest")[0], find(resumed.run.checkpoints, "latest")[0]
    assert left.step == right.step == STEPS
    for part in ("weights", "optimizer"):
        ours, theirs = left.tensors(part), right.tensors(part)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), f"after a kill near step {wanted * 3}"
    steps = [line["step"] for line in resumed.run.read_lines("metrics") if line["kind"] == "train"]
    assert steps == [line["step"] for line in whole.run.read_lines("metrics") if line["kind"] == "train"]
