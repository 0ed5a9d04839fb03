"""One process per run, even after the previous one was killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lmlab import LabError, StorageError
from lmlab.runs import RunLock, TakenOver, is_locked, require_unlocked

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from lmlab.runs import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    {then}
"""


def holder(folder, then="time.sleep(60)"):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(then=then), str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process, number=signal.SIGTERM):
    process.send_signal(number)
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_which_process_holds_the_run_on_which_host(tmp_path):
    import socket

    process = holder(tmp_path)
    try:
        assert is_locked(tmp_path)
        with pytest.raises(LabError, match=f"in use by process {process.pid} on {socket.gethostname()}") as caught:
            RunLock(tmp_path).acquire()
        assert "\n" not in str(caught.value)
    finally:
        end(process)
    assert not is_locked(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_the_lock_dies_with_its_owner_even_by_sigkill(tmp_path):
    end(holder(tmp_path), signal.SIGKILL)
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_outlives_its_killed_parent_does_not_keep_the_lock(tmp_path):
    then = "pid = os.fork()\n    print(pid, flush=True) if pid else None\n    time.sleep(60)"
    process = holder(tmp_path, f"import os; {then}")
    child = int(process.stdout.readline())
    try:
        assert is_locked(tmp_path), "the child's going must not free the parent's lock"
        end(process, signal.SIGKILL)
        os.kill(child, 0)
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_second_holder_in_the_same_process_is_refused_too(tmp_path):
    with RunLock(tmp_path):
        with pytest.raises(LabError, match=f"process {os.getpid()}"):
            RunLock(tmp_path).acquire()
        assert is_locked(tmp_path)
    with RunLock(tmp_path):
        pass


def test_the_lock_is_given_back_after_an_error_and_its_file_stays(tmp_path):
    with pytest.raises(RuntimeError), RunLock(tmp_path):
        raise RuntimeError
    assert (tmp_path / "lock").exists() and not is_locked(tmp_path)


def test_asking_whether_a_run_is_locked_disturbs_no_one_who_takes_it(tmp_path):
    (tmp_path / "lock").touch()
    ended = threading.Event()

    def ask():
        while not ended.is_set():
            is_locked(tmp_path)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(30):
            with RunLock(tmp_path):
                time.sleep(0.001)
    finally:
        ended.set()
        for asker in askers:
            asker.join()
    assert not is_locked(tmp_path)


def test_asking_makes_no_file(tmp_path):
    assert not is_locked(tmp_path) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_file_with_nonsense_in_it_can_be_taken_and_names_no_one(tmp_path, note):
    (tmp_path / "lock").write_text(note)
    with RunLock(tmp_path):
        (tmp_path / "lock").write_text(note)
        with pytest.raises(LabError, match="another process"):
            RunLock(tmp_path).acquire()


def test_a_folder_that_is_not_there_is_named_in_one_line(tmp_path):
    with pytest.raises(LabError, match="lock can't be opened"):
        RunLock(tmp_path / "missing").acquire()


@pytest.fixture
def local_locks(monkeypatch):
    """Every process gets the lock, as on a file system whose locks end at the machine."""
    monkeypatch.setattr("lmlab.runs.lock.try_lock", lambda *arguments, **options: True)


def test_where_locks_are_local_the_later_owner_has_the_run(tmp_path, local_locks):
    with RunLock(tmp_path) as first:
        first.require()
        with RunLock(tmp_path) as second:
            second.require()
            with pytest.raises(
                TakenOver, match=f"taken over by process {os.getpid()} on .*: this process stops"
            ) as caught:
                first.require()
            assert "\n" not in str(caught.value)
            first.release()
            second.require()


def test_equal_process_ids_on_equal_hosts_are_told_apart(tmp_path, local_locks, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr("socket.gethostname", lambda: "container")
    monkeypatch.setattr("lmlab.runs.lock.now", lambda: "2026-01-01T00:00:00.000Z")
    with RunLock(tmp_path) as first, RunLock(tmp_path), pytest.raises(TakenOver):
        first.require()


def test_who_only_looks_takes_nothing_over(tmp_path, local_locks):
    with RunLock(tmp_path) as first, RunLock(tmp_path, sign=False) as looking:
        first.require()
        looking.sign()
        looking.require()
        with pytest.raises(TakenOver):
            first.require()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"token": 1}'])
def test_a_lock_file_that_was_overwritten_is_another_s(tmp_path, note):
    with RunLock(tmp_path) as lock:
        (tmp_path / "lock").write_text(note)
        with pytest.raises(TakenOver, match="taken over by another process"):
            lock.require()


def test_a_run_that_was_moved_away_is_said_to_be(tmp_path):
    (tmp_path / "run").mkdir()
    with RunLock(tmp_path / "run") as lock:
        (tmp_path / "run" / "lock").unlink()
        with pytest.raises(StorageError, match="lock can't be read: No such file"):
            lock.require()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system can't be told to follow no link")
def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabError, match="is a link"):
        RunLock(tmp_path).acquire()
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_a_lock_that_is_held_for_an_instant_is_waited_for(tmp_path):
    lock = RunLock(tmp_path)
    lock.acquire()
    threading.Timer(0.1, lock.release).start()
    require_unlocked(tmp_path)
    with RunLock(tmp_path), pytest.raises(LabError, match="in use by process"):
        require_unlocked(tmp_path)


def test_whether_a_run_is_free_is_asked_without_making_a_file(tmp_path):
    require_unlocked(tmp_path)
    assert list(tmp_path.iterdir()) == []
