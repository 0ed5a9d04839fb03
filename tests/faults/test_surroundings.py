"""What surrounds a training: a second process, a clock that jumps, a pipe that nobody reads, a terminal that is closed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lmlab.runs import open_run
from tests.faults.conftest import SEED
from tests.faults.nursery import ASKED_AFTER
from tests.faults.suite import Fault, assert_same_end, end_of, last_lines, tally

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PATIENCE_SECONDS = 180
"""A save waits for a disk that others fill."""
LONG = ("--train.steps", "1000000", "--train.log_every", "1", "--evaluate.every", "1000000")


@contextlib.contextmanager
def training(ground, name, *more, **options):
    """A training in a process of its own, in its own session; it goes on until it's stopped, or this ends."""
    words = [word for word in ground.words if word != "--quiet"]
    environment = {**os.environ, **ground.nursery.environment, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lmlab", *words, "--run", name, *LONG, *more]
    process = subprocess.Popen(command, env=environment, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition, process):
    """Wait for it; AssertionError where it takes too long, or the process ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def steps_of(ground, name):
    path = ground.folder / "runs" / name / "metrics.jsonl"
    return path.read_bytes().count(b'"train"') if path.exists() else 0


def test_a_second_process_is_refused_while_the_first_lives_and_only_then(plain):
    with training(plain, "shared", stdout=subprocess.DEVNULL) as process:
        until(lambda: steps_of(plain, "shared") > 2, process)
        folder = plain.folder / "second"
        words = ["resume", "shared", "--runs", str(plain.folder / "runs")]
        assert plain.nursery.run(words, folder) == 1
        assert f"in use by process {process.pid}" in last_lines(folder)[-1]
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The lock died with its owner: the next is let in.
        assert plain.nursery.run(words, folder, Fault("step", 3, "SIGTERM")) == 3


def test_a_training_whose_output_nobody_reads_goes_on(plain):
    with training(plain, "unread", stdout=subprocess.PIPE) as process:
        run = plain.folder / "runs" / "unread"
        until(lambda: steps_of(plain, "unread") > 2, process)
        before = steps_of(plain, "unread")
        for _ in range(3):  # each makes lines that fill the pipe
            (run / "control" / "save").touch()
        until(lambda: steps_of(plain, "unread") > before + 500, process)
        process.stdout.close()  # and then the reader is gone
        before = steps_of(plain, "unread")
        until(lambda: steps_of(plain, "unread") > before + 300, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 3


def test_a_closed_terminal_saves_and_stops(plain):
    keeper, terminal = os.openpty()
    ends = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with training(plain, "terminal", **ends, preexec_fn=_take_terminal) as process:
        os.close(terminal)
        os.set_blocking(keeper, False)
        until(lambda: _drained(keeper) and steps_of(plain, "terminal") > 2, process)
        os.close(keeper)  # the window is closed: SIGHUP, and nothing can be printed any more
        assert process.wait(PATIENCE_SECONDS) == 3
    run, _ = open_run("terminal", plain.folder / "runs")
    (stopped,) = [line for line in run.read_lines("events") if line["kind"] == "stopped"]
    assert stopped["reason"] == "SIGHUP"


def _take_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _drained(keeper):
    """Read what the terminal shows, so that it never waits."""
    with contextlib.suppress(BlockingIOError):
        os.read(keeper, 1 << 16)
    return True


def test_one_that_ignores_hangups_goes_on(plain):
    with training(plain, "nohup", stdout=subprocess.DEVNULL, preexec_fn=_ignore_hangups) as process:
        until(lambda: steps_of(plain, "nohup") > 2, process)
        process.send_signal(signal.SIGHUP)
        before = steps_of(plain, "nohup")
        until(lambda: steps_of(plain, "nohup") > before + 50, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 3


def _ignore_hangups():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_second_signal_stops_at_once_and_loses_no_checkpoint(plain):
    with training(plain, "twice", stdout=subprocess.DEVNULL) as process:
        until(lambda: steps_of(plain, "twice") > 20, process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 3
    folder = plain.folder / "after-twice"
    words = ["resume", "twice", "--runs", str(plain.folder / "runs"), "--quiet"]
    assert plain.nursery.run(words, folder, Fault("step", 3, "SIGTERM")) == 3


def test_a_clock_that_jumps_changes_nothing_but_the_times(plain):
    folder = plain.folder / "clock"
    command = [*plain.words, "--run", "clock", "--or-resume"]
    plain.nursery.run(command, folder, Fault("step", 15, "before"), surroundings=("a jumping clock",))
    assert plain.nursery.run(command, folder, surroundings=("a jumping clock",)) == 0
    end = end_of(plain.folder / "runs", "clock", folder)
    for what, expected in plain.untouched.items():
        assert end[what] == expected, what
    run, _ = open_run("clock", plain.folder / "runs")
    times = [line["time"] for line in run.read_lines("metrics")]
    assert times != sorted(times)


OVERTAKEN = ("step", "evaluation", "sampling", "whole split")
TWO_CONTAINERS = ("local locks", "equal process ids")


def takeovers(ground):
    """The points at which a second process may take over."""
    lines = (ground.folder / "untouched" / "trace.txt").read_text().splitlines()
    passed = [line.rsplit(" ", 2) for line in lines]
    return [
        Fault(point, int(index), "overtaken")
        for point, index, name in passed
        if point in OVERTAKEN or name in ASKED_AFTER
    ]


def assert_taken_over(ground, name, fault):
    """The process that is overtaken stops in one line, or was done; the run ends as if only the other had worked on it."""
    folder = ground.folder / name
    status = ground.nursery.run(
        [*ground.words, "--run", name, "--or-resume"], folder, fault, surroundings=TWO_CONTAINERS
    )
    last = last_lines(folder)[-1]
    assert status in (0, 1), f"{fault} ended with {status}: {last}"
    if status == 1:
        assert last.startswith("lmlab: ") and ("taken over" in last or "exists already" in last), f"{fault}: {last}"
        tally["takeovers"] += 1
    assert "Traceback" not in (folder / "printed.txt").read_text(errors="replace"), fault
    end = end_of(ground.folder / "runs", name, folder)
    # What was overtaken takes a few steps more, in its trial or until it next asks; the lines have the hashes of the run's own.
    for what in ground.untouched.keys() - {"batches"}:
        assert end[what] == ground.untouched[what], f"{what} after {fault}"
    tally["equal ends"] += 1


def test_a_sample_of_takeovers_where_locks_are_local_and_process_ids_equal(plain):
    for number, fault in enumerate(random.Random(SEED).sample(takeovers(plain), 6)):
        assert_taken_over(plain, f"overtaken-{number}", fault)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["plain", "eventful"])
def test_many_takeovers(request, name):
    ground = request.getfixturevalue(name)
    for number, fault in enumerate(random.Random(SEED + 1).sample(takeovers(ground), 60)):
        assert_taken_over(ground, f"many-overtaken-{number}", fault)


def renames(ground):
    lines = (ground.folder / "untouched" / "trace.txt").read_text().splitlines()
    return [Fault("disk", int(line.split()[1]), "blocked") for line in lines if line.endswith(" rename")]


def test_a_reader_that_blocks_a_rename_for_a_moment_changes_nothing(plain):
    for number, fault in enumerate(random.Random(SEED).sample(renames(plain), 3)):
        assert_same_end(plain, f"blocked-{number}", [fault])


@pytest.mark.faults
def test_readers_that_block_each_rename(plain):
    for number, fault in enumerate(renames(plain)):
        assert_same_end(plain, f"every-blocked-{number}", [fault])
