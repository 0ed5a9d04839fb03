"""Files that survive a crash."""

import errno
import json
import os
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError, StorageError
from lmlab.files import (
    FileLock,
    Storage,
    flush_folder,
    is_plain_name,
    read_json,
    remove_tree,
    require_free_bytes,
    sha256_of_file,
    try_lock,
    write_bytes,
    write_json,
    write_text,
)

pytestmark = pytest.mark.flushed

OPERATIONS = ("open", "write", "flush", "rename", "remove", "flush_folder")


class Killed(BaseException):
    """The process is dead."""


def failing(operation, error):
    """A disk on which one kind of operation fails; a killed process does nothing after it."""

    class Failing(Storage):
        dead = False

    def wrapped(name):
        def call(self, *arguments):
            if self.dead or name == operation:
                self.dead = isinstance(error, Killed)
                raise error
            return getattr(Storage, name)(self, *arguments)

        return call

    for name in OPERATIONS:
        setattr(Failing, name, wrapped(name))
    return Failing()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_any_operation_the_old_content_or_the_new_one_is_there(tmp_path, operation):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    try:
        write_json(path, {"new": 2}, failing(operation, Killed()))
    except Killed:
        pass
    else:
        assert operation == "remove"
    assert read_json(path) in ({"old": 1}, {"new": 2})
    assert (read_json(path) == {"new": 2}) == (operation in ("remove", "flush_folder"))


@pytest.mark.parametrize("operation", ["open", "write", "flush", "rename"])
def test_a_refused_write_is_one_line_and_leaves_the_old_content_and_no_litter(tmp_path, operation):
    path = tmp_path / "file.json"
    write_text(path, "old")
    with pytest.raises(LabError, match="file.json can't be written: No space left on device") as caught:
        write_text(path, "new", failing(operation, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LabError, match="missing/x.json can't be written: No such file or directory"):
        write_json(tmp_path / "missing" / "x.json", {})


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(tmp_path):
    class Watching(Storage):
        done = []

        def flush(self, file):
            self.done.append("bytes")

        def rename(self, old, new):
            self.done.append("name")
            super().rename(old, new)

        def flush_folder(self, folder):
            self.done.append("folder")

    write_bytes(tmp_path / "x", b"1", Watching())
    assert Watching.done == ["bytes", "name", "folder"]


def test_writes_that_the_system_takes_in_small_parts_arrive_whole(tmp_path):
    class Small:
        taken = b""

        def write(self, content):
            self.taken += bytes(content[:3])
            return min(3, len(content))

    small = Small()
    Storage().write(small, b"0123456789")
    assert small.taken == b"0123456789"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_json_value_is_read_back_equal_to_the_last_bit(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    found = read_json(path)
    assert json.dumps(found) == json.dumps(value)


def test_numbers_that_json_lacks_become_null_and_numpy_s_become_plain(tmp_path):
    value = {"a": float("nan"), "b": [np.float32("inf"), -np.inf], "c": (np.int64(2**60), np.float64(0.1), True)}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [None, None], "c": [2**60, 0.1, True]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b"nul"])
def test_what_is_no_json_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(LabError, match="x.json is damaged: expected JSON") as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_what_is_missing_too_large_or_no_file_is_refused_unread(tmp_path):
    with pytest.raises(LabError, match="is missing"):
        read_json(tmp_path / "x.json")
    with pytest.raises(LabError, match="is not a file"):
        read_json(tmp_path)
    with open(tmp_path / "x.json", "wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(LabError, match="larger than 1,000 bytes"):
        read_json(tmp_path / "x.json", 1000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(LabError, match="is not a file"):
            read_json(tmp_path / "pipe")


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    # FIPS 180-4's own example.
    assert sha256_of_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_too_little_space_is_said_with_what_is_needed_and_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 0, 5_000_000))
    require_free_bytes(tmp_path, 5_000_000, "a test")
    with pytest.raises(LabError, match="a test needs 5.0 MB .* has 5.0 MB free"):
        require_free_bytes(tmp_path, 5_000_001, "a test")


def test_a_file_system_that_cannot_flush_folders_is_none_the_worse_and_a_failing_disk_is_not_hidden(
    tmp_path, monkeypatch
):
    for code, raises in ((errno.EINVAL, False), (errno.EIO, True)):

        def fsync(descriptor, code=code):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)
        if raises:
            with pytest.raises(OSError, match="Input/output error"):
                flush_folder(tmp_path)
        else:
            flush_folder(tmp_path)


def test_removing_a_tree_follows_no_links(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_text("x")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "tree" / "nowhere").symlink_to(tmp_path / "missing")
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists() and (tmp_path / "kept" / "file").exists()


@pytest.mark.parametrize("name", ["x", "weights.safetensors", "a b", "..x", "naïve", ".hidden"])
def test_names_of_one_entry_are_plain(name):
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "...", "a/b", "/a", "a\\b", "C:a", "a\0", "a\n", "x" * 201, "a.", "a ", None, 3, b"x", "a*", " "],
)
def test_names_that_lead_elsewhere_or_that_some_system_lacks_are_not(name):
    assert not is_plain_name(name)


@given(st.text(max_size=20))
def test_a_plain_name_stays_in_its_folder(name):
    import pathlib

    if is_plain_name(name):
        for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
            path = kind("folder") / name
            assert path.parent == kind("folder") and path.name == name


def test_a_lock_is_exclusive_until_its_file_is_closed_and_shared_ones_only_ask(tmp_path):
    path = tmp_path / "lock"
    with open(path, "ab") as one, open(path, "ab") as other:
        assert try_lock(one)
        assert not try_lock(other) and not try_lock(other, shared=True)
    with open(path, "ab") as one, open(path, "ab") as other:
        assert try_lock(other)
        assert not try_lock(one)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has only exclusive locks")
def test_two_that_only_ask_do_not_see_each_other(tmp_path):
    path = tmp_path / "lock"
    with open(path, "ab") as one, open(path, "ab") as other:
        assert try_lock(one, shared=True) and try_lock(other, shared=True)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_lock_that_can_t_be_had_is_one_line_and_no_link_is_followed(tmp_path, monkeypatch):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="lock can't be locked"), FileLock(tmp_path / "lock", print, "waiting"):
        pass
    assert not (tmp_path / "elsewhere").exists()

    def none(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("lmlab.files.lock.try_lock", none)
    with pytest.raises(StorageError, match="No locks available"), FileLock(tmp_path / "other", print, "waiting"):
        pass
