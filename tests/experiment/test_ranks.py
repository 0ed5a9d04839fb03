"""Several processes that train together read the batches that one reads, end where it ends, and lose nothing."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from lmlab.checkpoint import find
from lmlab.experiment import resume, train
from lmlab.recipe import override, to_toml
from lmlab.runs import open_run
from lmlab.training.display import Quiet

pytestmark = pytest.mark.skipif(os.name == "nt", reason="torchrun's rendezvous needs libuv on Windows")

STEPS = 30
TOLERANCE = 2e-5
PATIENCE_SECONDS = 120


@pytest.fixture
def recipe(small_recipe, tmp_path):
    settings = {"train.steps": str(STEPS), "train.batch": "6", "train.engine": "torch", "train.log_every": "1"}
    made = override(small_recipe, {**settings, "evaluate.every": "10"})
    (tmp_path / "recipe.toml").write_text(to_toml(made), encoding="utf-8")
    return made


def start(tmp_path, count, *words):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += ["-m", "--", "lmlab", *words, "--runs", str(tmp_path), "--quiet"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process):
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, output


def lines(run):
    return [line for line in run.read_lines("metrics") if line["kind"] == "train"]


def assert_close(run, other):
    assert [line["batches"] for line in lines(run)] == [line["batches"] for line in lines(other)]
    for one, two in zip(lines(run), lines(other), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=TOLERANCE)
    assert len(lines(run)) == STEPS


def assert_equal_tensors(run, other):
    for part in ("weights", "optimizer"):
        ours, theirs = (find(each.checkpoints, "latest")[0].tensors(part) for each in (run, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_processes_train_as_one_and_go_on_exactly_or_as_one(recipe, tmp_path):
    status, output = finished(start(tmp_path, 2, "train", str(tmp_path / "recipe.toml"), "--run", "two"))
    assert status == 0, output
    two, _ = open_run("two", tmp_path)
    one = train(recipe, run="one", runs=tmp_path, display=Quiet()).run
    assert_close(two, one)
    assert two.read("policy.json")["ranks"] == 2
    # Stopped by the signal that all processes get, and continued by as many: bit for bit.
    process = start(
        tmp_path, 2, "train", str(tmp_path / "recipe.toml"), "--run", "stopped", "--train.steps", str(STEPS)
    )
    metrics, deadline = tmp_path / "stopped" / "metrics.jsonl", time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and (not metrics.exists() or metrics.read_bytes().count(b'"train"') < 5):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    finished(process)
    stopped, _ = open_run("stopped", tmp_path)
    assert find(stopped.checkpoints, "latest")[0].step > 0
    status, output = finished(start(tmp_path, 2, "resume", "stopped"))
    assert status == 0, output
    assert_equal_tensors(stopped, two)
    assert all(line["exact"] for line in stopped.read_lines("segments"))


def test_a_run_of_one_process_goes_on_by_two_and_again_by_one(recipe, tmp_path):
    class Stop(Quiet):
        def progress(self, now, logged):
            if now.step == 8:
                os.kill(os.getpid(), signal.SIGTERM)

    whole = train(recipe, run="whole", runs=tmp_path, display=Quiet()).run
    train(recipe, run="changed", runs=tmp_path, display=Stop())
    (tmp_path / "changed" / "control").mkdir(exist_ok=True)
    status, output = finished(start(tmp_path, 2, "resume", "changed", "--train.until", "1000h"))
    assert status == 0, output
    changed, _ = open_run("changed", tmp_path)
    assert_close(changed, whole)
    assert [line["policy"]["ranks"] for line in changed.read_lines("segments")] == [1, 2]
    assert [line["exact"] for line in changed.read_lines("segments")] == [True, False]
    resume("changed", runs=tmp_path, display=Quiet())


def test_more_processes_than_sequences_and_other_mistakes_end_all_of_them_in_one_line(recipe, tmp_path):
    words = ["train", str(tmp_path / "recipe.toml"), "--train.batch", "1"]
    status, output = finished(start(tmp_path, 2, *words))
    assert status != 0
    said = [line for line in output.splitlines() if line.startswith("lmlab: ")]
    assert said == ["lmlab: train.batch 1 is too small for 2 processes: expected at least one sequence for each"]


CLOSED = """
import os, torch
from lmlab.training import ranks
ranks.ranks = lambda: 2  # as if there were another, which this one doesn't wait for
ranks.gather()
import torch._dynamo  # as the first optimizer does
ranks.send_numbers([torch.zeros(3)])
def threads():
    names = (open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task"))
    return sum(name.startswith(("gloo", "pt_gloo")) for name in names)
assert threads(), "a group without threads"
ranks.part()
assert not threads(), "threads of a closed group"
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the names of threads are Linux's")
def test_a_closed_group_leaves_no_threads_that_could_abort_the_process_at_its_exit():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    only = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ended = subprocess.run([sys.executable, "-c", CLOSED], env={**os.environ, **only}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
