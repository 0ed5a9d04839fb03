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
from lmlab.training.parallel import RankLost
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


def start(tmp_path, count, *words, dies="", options=()):
    """torchrun with further `options`; with `dies`, of a program in which a rank dies there (see FAULTY)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *options]
    program = ["-m", "--", "lmlab"]
    if dies:
        (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
        program = ["--", str(tmp_path / "faulty.py")]
    return spawned([*command, *program, *words, "--runs", str(tmp_path), "--quiet"], {"DIES": dies})


FAULTY = """
import os, signal, sys
from lmlab.cli import main
from lmlab.training import parallel
from lmlab.training.computation import TorchComputation
from lmlab.training.data_parallel import Replicated

# The rank, at which call of which method of its training's computation it gets which signal.
who, name, calls, number = os.environ["DIES"].split(":")
real, left = getattr(TorchComputation, name), int(calls)

def called(self, *arguments):
    global left
    left -= self.exchange is not None and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if not left:
        os.kill(os.getpid(), int(number))
    return real(self, *arguments)

if parallel.rank() == int(who):
    setattr(TorchComputation, name, called)
status = main(sys.argv[1:])
print(f"rank {parallel.rank()} ended with {status}")
sys.exit(status)
"""
KILL, TERM = int(signal.SIGKILL) if os.name != "nt" else 9, int(signal.SIGTERM)


def start_by_hand(tmp_path, count, *words, dies):
    """What torchrun would start, without torchrun, which would signal the others once one has died."""
    command = [sys.executable, "-c", FAULTY, *words, "--runs", str(tmp_path), "--quiet"]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(count), "DIES": dies}
    place |= {"LOCAL_WORLD_SIZE": str(count)}
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


def lines(run, kind="train"):
    return [line for line in run.read_lines("metrics") if line["kind"] == kind]


def assert_close(run, other):
    assert [line["batches"] for line in lines(run)] == [line["batches"] for line in lines(other)]
    for one, two in zip(lines(run), lines(other), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=TOLERANCE)
    assert len(lines(run)) == STEPS
    for one, two in zip(lines(run, "evaluation"), lines(other, "evaluation"), strict=True):
        assert one["valid_loss"] == pytest.approx(two["valid_loss"], rel=TOLERANCE)
        assert all(one[name] == two[name] for name in ("step", "valid_tokens", "train_tokens", "whole"))


def assert_equal_tensors(run, other):
    for part in ("weights", "optimizer"):
        ours, theirs = (find(each.checkpoints, "latest")[0].tensors(part) for each in (run, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_processes_train_as_one_and_go_on_exactly(recipe, tmp_path, two):
    one = train(recipe, run="one", runs=tmp_path, display=Quiet())
    assert_close(two, one.run)
    assert two.read("policy.json")["ranks"] == 2
    for name in ("final", "best"):
        assert two.summary()[name]["loss"] == pytest.approx(one.summary[name]["loss"], rel=TOLERANCE)
        assert two.summary()[name]["tokens"] == one.summary[name]["tokens"]
    # Stopped by the signal that all processes get, and continued by as many: bit for bit.
    process = start(tmp_path, 2, "train", str(tmp_path / "recipe.toml"), "--run", "stopped")
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
    leader, other = start_by_hand(tmp_path, 2, *words, dies=f"1:_backward_rows:9:{KILL}")
    status, output = finished(leader)
    run, _ = open_run("lost", tmp_path)
    assert finished(other) == (-signal.SIGKILL, "")
    told, ended = output.splitlines()
    assert (status, ended) == (3, "rank 0 ended with 3")
    assert told.startswith("stopped by RankLost: rank 1 has gone (")
    resume_by = f"torchrun --nproc-per-node 2 -m -- lmlab resume {run.folder}"
    assert told.endswith(f") at step 8, saved; continue with: {resume_by}")
    assert find(run.checkpoints, "latest")[0].step == 8
    (stopped,) = [line for line in run.read_lines("events") if line["kind"] == "stopped"]
    assert stopped["step"] == 8 and stopped["reason"].startswith("RankLost: rank 1 has gone (")
    # Under torchrun, which signals rank 0 besides; between the gradients and the update.
    status, output = finished(start(tmp_path, 2, "resume", "lost", dies=f"1:update:9:{KILL}"))
    assert "rank 0 ended with 3" in output and re.search(r"exitcode +: 3 ", output), output
    assert "[rank0]" not in output and "terminate called" not in output, output
    assert find(run.checkpoints, "latest")[0].step in (16, 17)
    both = start_by_hand(tmp_path, 2, "resume", "lost", dies="1:update:1000:9")
    (status, output), (other_status, said) = [finished(process) for process in both]
    assert (status, other_status) == (0, 0), output + said
    assert [line["loss"] for line in lines(run)] == [line["loss"] for line in lines(two)]
    assert_equal_tensors(run, two)


@pytest.mark.slow
def test_torchrun_starts_all_again_after_a_lost_rank_and_the_run_goes_on(recipe, tmp_path, two):
    words = ["train", str(tmp_path / "recipe.toml"), "--run", "again", "--or-resume"]
    status, output = finished(
        start(tmp_path, 2, *words, dies=f"1:_backward_rows:9:{KILL}", options=["--max-restarts=1"])
    )
    assert status == 0, output
    run, _ = open_run("again", tmp_path)
    assert [line["kind"] for line in run.read_lines("segments")] == ["start", "resume"]
    assert_equal_tensors(run, two)


@pytest.mark.slow
def test_two_machines_with_caches_of_their_own_train_as_one(recipe, tmp_path, two):
    place = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=1",
        "--master-addr=127.0.0.1",
    ]
    words = ["-m", "--", "lmlab", "train", str(tmp_path / "recipe.toml"), "--run", "apart", "--quiet"]
    port = f"--master-port={free_port()}"
    both = [
        spawned(
            [*place, port, f"--node-rank={node}", *words, "--runs", str(tmp_path / f"runs-{node}")],
            {"LMLAB_CACHE": str(tmp_path / f"cache-{node}")},
        )
        for node in range(2)
    ]
    ended = [finished(process) for process in both]
    assert [status for status, _ in ended] == [0, 0], ended
    run, _ = open_run("apart", tmp_path / "runs-0")
    assert_equal_tensors(run, two)
    assert not (tmp_path / "runs-1").exists()
    assert len(list((tmp_path / "cache-1" / "datasets").iterdir())) == 1


def test_a_killed_rank_0_ends_the_others_in_one_line(recipe, tmp_path):
    words = ["train", str(tmp_path / "recipe.toml"), "--run", "beheaded", "--train.checkpoint_every", "5"]
    leader, other = start_by_hand(tmp_path, 2, *words, dies=f"0:update:8:{KILL}")
    assert finished(leader) == (-signal.SIGKILL, "")
    status, output = finished(other)
    assert re.fullmatch(r"lmlab: rank 0 has gone \(.*\): resume the run\nrank 1 ended with 1\n", output), output
    run, _ = open_run("beheaded", tmp_path)
    assert find(run.checkpoints, "latest")[0].step == 5


def test_a_signal_to_one_rank_stops_all_at_the_same_step(recipe, tmp_path):
    words = ["train", str(tmp_path / "recipe.toml"), "--run", "told"]
    both = start_by_hand(tmp_path, 2, *words, dies=f"1:update:7:{TERM}")
    (status, output), (other_status, said) = [finished(process) for process in both]
    assert (status, other_status, said) == (3, 0, "rank 1 ended with 0\n"), output + said
    # The signal is exchanged with the next step's loss.
    assert "stopped by a request to another rank at step 8, saved" in output
    assert find(open_run("told", tmp_path)[0].checkpoints, "latest")[0].step == 8


def test_a_rank_that_is_lost_during_an_evaluation_leaves_the_boundary_before_it(recipe, tmp_path, two, monkeypatch):
    words = ["train", str(tmp_path / "recipe.toml"), "--run", "scored"]
    leader, other = start_by_hand(tmp_path, 2, *words, dies=f"1:update:10:{KILL}")
    status, output = finished(leader)
    finished(other)
    assert status == 3 and "at step 10, saved; continue with: " in output, output
    run, _ = open_run("scored", tmp_path)
    assert [line["step"] for line in run.read_lines("metrics") if line["kind"] == "evaluation"] == [0]
    both = start_by_hand(tmp_path, 2, "resume", "scored", dies="1:update:1000:9")
    assert [finished(process)[0] for process in both] == [0, 0]
    assert_equal_tensors(run, two)


def test_a_rank_lost_between_verdict_and_update_leaves_what_the_boundary_had(recipe, tmp_path, monkeypatch):
    # The smallest excess is a spike, with a black box, once the guard has seen enough steps.
    recipe = override(recipe, {"train.steps": "50", "train.spike": "0.01", "evaluate.every": "50"})
    whole = train(recipe, run="whole", runs=tmp_path, display=Quiet()).run
    honest = TorchComputation.update

    def update(self, *arguments):
        if black_box_steps(tmp_path / "lost"):
            raise RankLost("rank 1 has gone")
        return honest(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TorchComputation, "update", update)
        outcome = train(recipe, run="lost", runs=tmp_path, display=Quiet())
    boundary = black_box_steps(whole.folder)[0] - 1
    saved = find(outcome.run.checkpoints, "latest")[0]
    assert (outcome.ending.kind, outcome.ending.reason) == ("stopped", "RankLost: rank 1 has gone")
    assert outcome.step == saved.step == boundary and saved.state["guard"]["boxes"] == 0
    resume("lost", runs=tmp_path, display=Quiet())
    assert_equal_tensors(outcome.run, whole)
    guards = [find(run.checkpoints, "latest")[0].state["guard"] for run in (outcome.run, whole)]
    assert guards[0] == guards[1] and guards[0]["boxes"] == len(black_box_steps(whole.folder))


def test_a_run_of_one_process_goes_on_by_three_and_then_by_two(recipe, tmp_path):
    whole = train(recipe, run="whole", runs=tmp_path, display=Quiet()).run
    train(recipe, run="changed", runs=tmp_path, display=StopAt(8))
    stopped = start(tmp_path, 3, "resume", "changed", dies=f"1:update:7:{TERM}")
    status, output = finished(stopped)
    assert status != 0 and "stopped by a request to another rank at step 16, saved" in output, output
    status, output = finished(start(tmp_path, 2, "resume", "changed"))
    assert status == 0, output
    changed, _ = open_run("changed", tmp_path)
    assert_close(changed, whole)
    assert [line["policy"]["ranks"] for line in changed.read_lines("segments")] == [1, 3, 2]
    assert [line["exact"] for line in changed.read_lines("segments")] == [True, False, False]
    resume("changed", runs=tmp_path, display=Quiet())


def assert_two_train_as_one(recipe, tmp_path, settings):
    """Two processes and one have equal batches, close losses and the same events, or fail alike."""
    made = override(recipe, settings)
    (tmp_path / "kind.toml").write_text(to_toml(made), encoding="utf-8")
    status, output = finished(start(tmp_path, 2, "train", str(tmp_path / "kind.toml"), "--run", "two"))
    two, _ = open_run("two", tmp_path)
    try:
        one = train(made, run="one", runs=tmp_path, display=Quiet()).run
    except Exception as error:
        one, _ = open_run("one", tmp_path)
        assert status == 1 and str(error)[:40] in output
    else:
        assert status == 0, output
    assert [line["batches"] for line in lines(two)] == [line["batches"] for line in lines(one)]
    for ours, theirs in zip(lines(two), lines(one), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    kinds = [[line["kind"] for line in run.read_lines("events")] for run in (two, one)]
    assert kinds[0] == kinds[1]


SPIKES = {"train.spike": "0.01", "train.on_spike": "rewind", "train.rewinds": "2", "train.checkpoint_every": "5"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"model.kind": "context"},
        {"optim.kind": "muon", "model.preset": "modern", "model.ngrams": "2,3", "model.ngram_rows": "500"},
        {"train.micro_batch": "1", "model.dropout": "0.1"},
        {"data.windows": "documents"},
        SPIKES,
    ],
    ids=["context", "muon and tables", "accumulation", "documents", "rewinds"],
)
def test_each_kind_of_training_is_that_of_one_process(recipe, tmp_path, settings):
    assert_two_train_as_one(recipe, tmp_path, settings)


def test_more_processes_than_sequences_and_other_mistakes_end_all_of_them_in_one_line(recipe, tmp_path):
    words = ["train", str(tmp_path / "recipe.toml"), "--train.batch", "1"]
    status, output = finished(start(tmp_path, 2, *words))
    assert status != 0
    said = [line for line in output.splitlines() if line.startswith("lmlab: ")]
    assert said == ["lmlab: train.batch 1 is too small for 2 processes: expected at least one sequence for each"]


WAYS_OUT = """
import os, signal, sys, torch
from lmlab import LabError
from lmlab.training import parallel, signals

def threads():
    names = (open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task"))
    return sum(name.startswith(("gloo", "pt_gloo")) for name in names)

def interrupted(*tensors, **rest):
    # As where a signal comes while a collective is under way: the frames of the exception hold the group.
    group = torch.distributed.group.WORLD
    raise KeyboardInterrupt

def failed(*tensors):
    group = torch.distributed.group.WORLD
    raise RuntimeError("Connection closed by peer")

def leave_by(way):
    if way == "error":
        raise LabError("a mistake")
    if way == "lost":
        torch.distributed.all_reduce = failed
        parallel.all_sum(torch.zeros(3))
    if way in ("interrupt", "bug"):
        real, torch.distributed.broadcast = torch.distributed.broadcast, interrupted
        try:
            parallel.broadcast([torch.zeros(3)])
        except KeyboardInterrupt:
            if way == "interrupt":
                raise
            raise RuntimeError("a bug")
        finally:
            torch.distributed.broadcast = real

kept = []  # an exception that something keeps, as Python does with one that nobody handles
stores = []  # rank 0's hold the store that the other rank still asks
*ports, last = sys.argv[1:]
for port, way in zip(ports, ("end", "error", "interrupt", "bug", "lost"), strict=True):
    os.environ["MASTER_PORT"] = port
    stores += parallel._stores
    parallel._stores.clear()
    if parallel.rank() == 0:
        try:
            with signals.Interruptible(), parallel.leading():
                parallel.announce({"way": way})
                parallel.broadcast([torch.zeros(3)])
                assert threads(), "a group without threads"
                leave_by(way)
        except BaseException as error:
            kept.append(error)
    else:
        assert parallel.await_work() == {"way": way}
        parallel.broadcast([torch.zeros(3)])
        try:
            parallel.broadcast([torch.zeros(3)])
            raise AssertionError("rank 0 has sent more")
        except parallel.RankLost as lost:
            kept.append(lost)
        parallel.leave_group()
    assert not threads(), f"threads after {way}"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "torchrun's signal would end it before its own end"
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
assert len(kept) == (4 if parallel.rank() == 0 else 5), kept

os.environ["MASTER_PORT"] = last
stores += parallel._stores
parallel._stores.clear()
if parallel.rank() == 0:
    with parallel.leading():
        parallel.announce({})
        parallel.broadcast([torch.zeros(3)])
        os.kill(os.getpid(), signal.SIGKILL)
parallel.await_work()
parallel.broadcast([torch.zeros(3)])
try:
    parallel.broadcast([torch.zeros(3)])
except parallel.RankLost as lost:
    assert not threads(), "threads after rank 0 was killed"
    print(lost)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the names of threads are Linux's")
def test_every_way_out_leaves_the_group_its_threads_and_nobody_who_waits():
    ports = [free_port() for _ in range(6)]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    both = [spawned([sys.executable, "-c", WAYS_OUT, *ports], {**place, "RANK": rank}) for rank in ("0", "1")]
    (status, output), (others_status, told) = [finished(process) for process in both]
    assert (status, output, others_status) == (-signal.SIGKILL, "", 0), output + told
    # Of the last way, a killed rank 0, which aborted the others as they ended.
    assert re.fullmatch(r"rank 0 has gone \(.*\)\n", told), told


CLOSED = """
import os, torch
from lmlab.training import parallel
from lmlab.training.data_parallel import Replicated
parallel.ranks = lambda: 1
parallel.announce({})
import torch._dynamo  # as the first optimizer does
model = torch.nn.Linear(3, 1)
exchange = Replicated(model, lambda inputs, targets: (model(inputs) - targets).sum(), torch.device("cpu"))
with exchange.accumulating(True):
    exchange.loss(torch.ones(2, 3), torch.zeros(2, 1)).backward()
assert torch.equal(model.weight.grad, torch.full((1, 3), 2.0))
assert abs(float(exchange.own_norm()) - (3 * 4 + 4) ** 0.5) < 1e-6
def threads():
    names = (open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task"))
    return sum(name.startswith(("gloo", "pt_gloo")) for name in names)
assert threads(), "a group without threads"
parallel.leave_group()
assert not threads(), "threads of a closed group"
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the names of threads are Linux's")
def test_a_closed_group_leaves_no_threads_that_could_abort_the_process_at_its_exit():
    only = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    ended = subprocess.run([sys.executable, "-c", CLOSED], env={**os.environ, **only}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


EXACT = """
import dataclasses, sys, torch
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.optim.build import optimizer_of
from lmlab.recipe import from_toml
from lmlab.training import parallel
from lmlab.training.policy import choose_policy
from lmlab.training.state import State
from lmlab.training.step import TrainingStep

recipe = from_toml(open(sys.argv[1]).read())
model = build_model(recipe.model, 11)
initialise(model, 1)
model.double()
optimizer = optimizer_of(model, recipe, "cpu")
tokens = torch.randint(11, (5000,), generator=torch.Generator().manual_seed(1)).numpy()
step = TrainingStep(recipe, choose_policy(recipe), model, optimizer, tokens, 10)
if parallel.ranks() > 1:
    if parallel.rank() == 0:
        parallel.announce({})
    else:
        parallel.await_work()
    optimizer.divide(step.distribute())
state = State()
for _ in range(6):
    gradients = step.take(state)
    state.step, state.cursor = state.step + 1, state.cursor + recipe.train.batch
    if parallel.rank() == 0:
        print(gradients.batch[:8], repr(gradients.loss), repr(gradients.norm))
parallel.leave_group()
"""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_in_float64_several_processes_have_the_losses_of_one(recipe, tmp_path, count, optimizer):
    made = override(recipe, {"optim.kind": optimizer, "train.batch": "8", "model.layers": "3"})
    path = tmp_path / "exact.toml"
    path.write_text(to_toml(made), encoding="utf-8")
    found = []
    for ranks in (1, count):
        place = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        processes = [
            spawned(
                [sys.executable, "-c", EXACT, str(path)], {**place, "RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks)}
            )
            for rank in range(ranks)
        ]
        ended = [finished(process) for process in processes]
        assert all(status == 0 for status, _ in ended), ended
        found.append([line.split() for line in ended[0][1].splitlines()])
    for one, several in zip(*found, strict=True):
        assert one[0] == several[0]
        assert float(several[1]) == pytest.approx(float(one[1]), rel=1e-6)
        assert float(several[2]) == pytest.approx(float(one[2]), rel=1e-6)
