"""Temporary folders of processes: those of dead processes are removed when old, those of live processes are kept."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from lmlab import StorageError
from lmlab.files import remove_dead, remove_old_temporaries, temporary_folder, write_shared
from lmlab.planning.trials.child import environment

DAYS = 5 * 86_400
PROGRAM = """
import sys
from pathlib import Path
from lmlab.files import temporary_folder
with temporary_folder(Path(sys.argv[1]), "draft-") as work:
    (work.path / "deeper").mkdir()
    (work.path / "deeper" / "file").write_text("half")
    print(work.path, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def living(place):
    """A process at work in a temporary folder in `place`; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def aged(place, seconds):
    """Everything in `place` was last changed so long ago."""
    then = time.time() - seconds
    for path in sorted(place.rglob("*"), reverse=True):
        os.utime(path, (then, then), follow_symlinks=False)


def names(place):
    return sorted(path.name for path in place.iterdir())


def test_what_a_killed_process_left_goes_once_it_is_old(tmp_path):
    with living(tmp_path):
        pass
    remove_dead(tmp_path, "draft-")
    assert len(names(tmp_path)) == 1
    aged(tmp_path, 7200)
    remove_dead(tmp_path, "other-")
    assert len(names(tmp_path)) == 1
    remove_dead(tmp_path, "draft-")
    assert names(tmp_path) == []


def test_what_a_living_process_has_stays_whatever_the_clock_says(tmp_path, monkeypatch):
    with living(tmp_path):
        aged(tmp_path, DAYS)
        remove_dead(tmp_path, "draft-")
        assert len(names(tmp_path)) == 1
    # One that keeps its locks to itself, on another machine, has its age: by the file system's clock, not by ours.
    os.utime(tmp_path / names(tmp_path)[0])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + DAYS)
    remove_dead(tmp_path, "draft-")
    assert len(names(tmp_path)) == 1


def test_what_changed_deep_inside_is_young(tmp_path):
    with living(tmp_path):
        pass
    aged(tmp_path, 7200)
    os.utime(tmp_path / names(tmp_path)[0] / "deeper" / "file")
    remove_dead(tmp_path, "draft-")
    assert len(names(tmp_path)) == 1


def test_one_that_gets_another_name_has_no_lock_in_it_and_was_just_changed(tmp_path):
    with temporary_folder(tmp_path, "draft-") as work:
        (work.path / "file").write_text("whole")
        aged(tmp_path, DAYS)
        work.release()
        remove_dead(tmp_path, "draft-")
        work.path.rename(tmp_path / "done")
    assert names(tmp_path) == ["done"] and names(tmp_path / "done") == ["file"]


def test_an_error_inside_leaves_nothing_and_one_before_is_a_line(tmp_path):
    with pytest.raises(KeyError), temporary_folder(tmp_path, "draft-"):
        raise KeyError
    assert names(tmp_path) == []
    with pytest.raises(StorageError, match="nowhere can't be written"), temporary_folder(tmp_path / "nowhere", "x-"):
        pass
    remove_dead(tmp_path / "nowhere", "draft-")


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_are_neither_followed_nor_taken_for_folders(tmp_path):
    place, mine = tmp_path / "place", tmp_path / "mine"
    for folder in (place, mine):
        folder.mkdir()
    (mine / "file").write_text("mine")
    (place / f"draft-{'0' * 32}").symlink_to(mine, target_is_directory=True)
    (place / f"draft-{'1' * 32}").mkdir()
    (place / f"draft-{'1' * 32}" / "link").symlink_to(mine, target_is_directory=True)
    (place / ".one.0123456789abcdef.tmp").symlink_to(mine / "file")
    aged(place, DAYS)
    remove_dead(place, "draft-")
    remove_old_temporaries(place)
    assert names(place) == [".one.0123456789abcdef.tmp", f"draft-{'0' * 32}"] and names(mine) == ["file"]


def test_old_temporaries_go_with_the_next_write_and_young_ones_stay(tmp_path):
    place = tmp_path / "shared"
    write_shared(place / "one.json", {})
    old, young = place / ".one.json.0123456789abcdef.tmp", place / ".one.json.fedcba9876543210.tmp"
    for path in (old, young, place / "notes.tmp"):
        path.write_text("half")
    aged(place, 7200)
    os.utime(young)
    write_shared(place / "one.json", {"new": 1})
    assert names(place) == [young.name, "notes.tmp", "one.json"]
