"""Several processes that train together read the batches that one reads, end where it ends, and lose nothing."""

import os
import re
import signal
import socket
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
from lmlab.runs.black_boxes import black_box_steps
from lmlab.training.computation import TorchComputation
from lmlab.training.display import Quiet
from lmlab.training.ranks import RankLost
from tests.stopping import StopAt

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


@pytest.fixture(scope="module")
def trained():
    """What `two` has trained."""
    return []


@pytest.fixture
def two(recipe, tmp_path, trained):
    """A run by two processes from beginning to end, which nobody may change; trained once."""
    if not trained:
        status, output = finished(start(tmp_path, 2, "train", str(tmp_path / "recipe.toml"), "--run", "two"))
        assert status == 0, output
        trained.append(open_run("two", tmp_path)[0])
    return trained[0]


def start(tmp_path, count, *words, dies=""):
    """torchrun; with `dies`, of a program in which a rank dies there (see FAULTY)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    program = ["-m", "--", "lmlab"]
    if dies:
        (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
        program = ["--", str(tmp_path / "faulty.py")]
    settings = {"DIES": dies, "RUN": str(tmp_path / "lost")}
    return spawned([*command, *program, *words, "--runs", str(tmp_path), "--quiet"], settings)


FAULTY = """
import os, signal, sys
from lmlab.cli import main
from lmlab.training import ranks

# The rank that dies, at which call of which function of lmlab.training.ranks; calls from before the run is there don't count.
who, name, calls = os.environ["DIES"].split(":")
real, left = getattr(ranks, name), int(calls)

def called(*arguments):
    global left
    left -= os.path.isdir(os.environ["RUN"])
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

if ranks.rank() == int(who):
    setattr(ranks, name, called)
status = main(sys.argv[1:])
print(f"rank {ranks.rank()} ended with {status}")
sys.exit(status)
"""


def start_by_hand(tmp_path, count, *words, dies):
    """What torchrun would start, without torchrun, which would signal the others once one has died."""
    command = [sys.executable, "-c", FAULTY, *words, "--runs", str(tmp_path), "--quiet"]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(count), "DIES": dies}
    place |= {"LOCAL_WORLD_SIZE": str(count), "RUN": str(tmp_path / "lost")}
    return [spawned(command, {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)]


def spawned(command, settings):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


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


def test_two_processes_train_as_one_and_go_on_exactly_or_as_one(recipe, tmp_path, two):
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


def test_a_killed_rank_is_noticed_saved_and_the_resume_goes_on_exactly(recipe, tmp_path, two):
    words = ["train", str(tmp_path / "recipe.toml"), "--run", "lost"]
    # A follower in the middle of a step, with the gradients of that step computed.
    leader, follower = start_by_hand(tmp_path, 2, *words, dies="1:all_reduce:9")
    status, output = finished(leader)
    run, _ = open_run("lost", tmp_path)
    assert finished(follower) == (-signal.SIGKILL, "")
    told, ended = output.splitlines()
    assert (status, ended) == (3, "rank 0 ended with 3")
    assert told.startswith("stopped by RankLost: rank 1 has gone (")
    resume_by = f"torchrun --nproc-per-node 2 -m -- lmlab resume {run.folder}"
    assert told.endswith(f") at step 8, saved; continue with: {resume_by}")
    assert find(run.checkpoints, "latest")[0].step == 8
    (stopped,) = [line for line in run.read_lines("events") if line["kind"] == "stopped"]
    assert stopped["step"] == 8 and stopped["reason"].startswith("RankLost: rank 1 has gone (")
    # Under torchrun, which signals rank 0 besides; between the gradients and the decision.
    status, output = finished(start(tmp_path, 2, "resume", "lost", dies="1:receive_decision:9"))
    assert "rank 0 ended with 3" in output and re.search(r"exitcode +: 3 ", output), output
    assert "[rank0]" not in output and "terminate called" not in output, output
    assert find(run.checkpoints, "latest")[0].step in (16, 17)  # what rank 0 decided may have been sent already
    both = start_by_hand(tmp_path, 2, "resume", "lost", dies="1:all_reduce:1000")
    assert [finished(process)[0] for process in both] == [0, 0]
    assert [line["loss"] for line in lines(run)] == [line["loss"] for line in lines(two)]
    assert_equal_tensors(run, two)


def test_a_rank_lost_between_verdict_and_update_leaves_what_the_boundary_had(recipe, tmp_path, monkeypatch):
    # The smallest excess is a spike, with a black box, once the guard has seen enough steps.
    recipe = override(recipe, {"train.steps": "50", "train.spike": "0.01", "evaluate.every": "50"})
    whole = train(recipe, run="whole", runs=tmp_path, display=Quiet()).run
    honest = TorchComputation._apply

    def update(self, *arguments):
        if black_box_steps(tmp_path / "lost"):
            raise RankLost("rank 1 has gone")
        honest(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TorchComputation, "_apply", update)
        outcome = train(recipe, run="lost", runs=tmp_path, display=Quiet())
    boundary = black_box_steps(whole.folder)[0] - 1
    saved = find(outcome.run.checkpoints, "latest")[0]
    assert (outcome.ending.kind, outcome.ending.reason) == ("stopped", "RankLost: rank 1 has gone")
    assert outcome.step == saved.step == boundary and saved.state["guard"]["boxes"] == 0
    resume("lost", runs=tmp_path, display=Quiet())
    assert_equal_tensors(outcome.run, whole)
    guards = [find(run.checkpoints, "latest")[0].state["guard"] for run in (outcome.run, whole)]
    assert guards[0] == guards[1] and guards[0]["boxes"] == len(black_box_steps(whole.folder))


def test_a_run_of_one_process_goes_on_by_two_and_again_by_one(recipe, tmp_path):
    whole = train(recipe, run="whole", runs=tmp_path, display=Quiet()).run
    train(recipe, run="changed", runs=tmp_path, display=StopAt(8))
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


WAYS_OUT = """
import contextlib, os, signal, sys, torch
from lmlab import LabError
from lmlab.training import following, ranks, signals

def threads():
    names = (open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task"))
    return sum(name.startswith(("gloo", "pt_gloo")) for name in names)

def interrupted(*tensors, **rest):
    # As where a signal comes while a collective is under way: the frames of the exception hold the group.
    group = torch.distributed.group.WORLD
    raise KeyboardInterrupt

def failed(tensors):
    group = torch.distributed.group.WORLD
    raise RuntimeError("Connection closed by peer")

def leave_by(way):
    if way == "error":
        raise LabError("a mistake")
    if way == "lost":
        torch.distributed.all_reduce = failed
        ranks.all_reduce([torch.zeros(3)])
    if way in ("interrupt", "bug"):
        real, torch.distributed.broadcast = torch.distributed.broadcast, interrupted
        try:
            ranks.broadcast_tensors([torch.zeros(3)])
        except KeyboardInterrupt:
            if way == "interrupt":
                raise
            raise RuntimeError("a bug")
        finally:
            torch.distributed.broadcast = real

kept = []  # an exception that something keeps, as Python does with one that nobody handles
*ports, last = sys.argv[1:]
for port, way in zip(ports, ("end", "error", "interrupt", "bug", "lost"), strict=True):
    os.environ["MASTER_PORT"] = port
    if ranks.rank() == 0:
        try:
            with signals.Interruptible(), ranks.leading():
                ranks.broadcast_tensors([torch.zeros(3)])
                assert threads(), "a group without threads"
                leave_by(way)
        except BaseException as error:
            kept.append(error)
    else:
        ranks.join_group()
        ranks.broadcast_tensors([torch.zeros(3)])
        try:
            assert ranks.receive_command()[0] == ranks.END, "another word than the end"
            said = "the end"
        except ranks.RankLost as lost:
            kept.append(lost)
            said = "rank 0 has gone"
        assert (said == "the end") == (way in ("end", "error")), (way, said)
        ranks.leave_group()
    assert not threads(), f"threads after {way}"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "torchrun's signal would end it before its own end"
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
assert len(kept) == (4 if ranks.rank() == 0 else 3), kept

os.environ["MASTER_PORT"] = last
if ranks.rank() == 0:
    with ranks.leading():
        ranks.broadcast_tensors([torch.zeros(3)])
        os.kill(os.getpid(), signal.SIGKILL)
ranks.join_group()
ranks.broadcast_tensors([torch.zeros(3)])
try:
    following.follow()
except LabError as error:
    assert not threads(), "threads after rank 0 was killed"
    print(f"{type(error).__name__} {error.status}: {error}")
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the names of threads are Linux's")
def test_every_way_out_leaves_the_group_its_threads_and_nobody_who_waits():
    ports = [free_port() for _ in range(6)]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    both = [spawned([sys.executable, "-c", WAYS_OUT, *ports], {**place, "RANK": rank}) for rank in ("0", "1")]
    (status, output), (others_status, told) = [finished(process) for process in both]
    assert (status, output, others_status) == (-signal.SIGKILL, "", 0), output + told
    # Of the last way, a killed rank 0, which aborted the others as they ended.
    assert re.fullmatch(r"LabError 1: rank 0 has gone \(.*\): resume the run\n", told), told


CLOSED = """
import os, torch
from lmlab.training import ranks
ranks.ranks = lambda: 2  # as if there were another, which this one doesn't wait for
ranks.join_group()
import torch._dynamo  # as the first optimizer does
ranks.broadcast_tensors([torch.zeros(3)])
def threads():
    names = (open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task"))
    return sum(name.startswith(("gloo", "pt_gloo")) for name in names)
assert threads(), "a group without threads"
ranks.leave_group()
assert not threads(), "threads of a closed group"
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the names of threads are Linux's")
def test_a_closed_group_leaves_no_threads_that_could_abort_the_process_at_its_exit():
    only = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    ended = subprocess.run([sys.executable, "-c", CLOSED], env={**os.environ, **only}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
