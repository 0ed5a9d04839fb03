"""Writers and removers follow no planted link, and use unique temporary names."""

import os
import stat
import types
from pathlib import Path

import pytest

from lmlab.files import DISK, Storage, is_link, remove_temporaries, remove_tree, write_bytes, write_json
from lmlab.files import storage as storage_module
from lmlab.files.links import JUNCTION

linked = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system can't be told to follow no link")


@linked
def test_a_link_planted_where_a_temporary_file_could_be_expected_is_not_written_through(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (tmp_path / f".file.json.{os.getpid()}.tmp").symlink_to(secret)
    write_json(tmp_path / "file.json", {"a": 1})
    assert secret.read_text() == "mine"


@linked
@pytest.mark.parametrize("mode", ["xb", "ab"])
@pytest.mark.parametrize("leads", ["somewhere", "nowhere"])
def test_no_link_is_opened_for_writing(tmp_path, mode, leads):
    target = tmp_path / "target"
    if leads == "somewhere":
        target.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError):
        DISK.open(tmp_path / "link", mode)
    assert target.read_text() == "mine" if leads == "somewhere" else not target.exists()


def test_a_new_file_takes_no_other_s_place(tmp_path):
    (tmp_path / "there").write_text("mine")
    with pytest.raises(FileExistsError):
        DISK.open(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


def test_two_writers_with_equal_process_ids_don_t_meet(tmp_path, monkeypatch):
    """As in two containers that share a folder: each process has the number 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    path = tmp_path / "file"

    class Overtaken(Storage):
        def rename(self, old, new):
            write_bytes(path, b"the other's, which is longer")
            super().rename(old, new)

    write_bytes(path, b"ours", Overtaken())
    assert path.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [path]


def test_temporaries_are_removed_for_what_they_are_themselves(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".a.json.0123456789abcdef.tmp").write_text("half")
    (folder / ".b.json.4711.tmp").write_text("half, of an earlier version")
    (folder / ".c.json.0123456789abcdef.tmp").symlink_to(outside / "kept")
    (folder / ".d.json.0123456789abcdef.tmp").symlink_to(tmp_path / "nowhere")
    (folder / ".e.json.0123456789abcdef.tmp").symlink_to(outside, target_is_directory=True)
    (folder / ".f.0123456789abcdef.tmp").mkdir()
    (folder / "g.tmp").write_text("somebody's")
    remove_temporaries(folder)
    assert sorted(entry.name for entry in folder.iterdir()) == [".f.0123456789abcdef.tmp", "g.tmp"]
    assert (outside / "kept").read_text() == "mine"


def test_a_junction_is_a_link_and_is_removed_as_one(tmp_path, monkeypatch):
    """Windows's `lstat` calls a junction a folder, and Python 3.11 `is_symlink` false."""
    folder, junction, removed = tmp_path / "folder", tmp_path / "folder" / "junction", []
    junction.mkdir(parents=True)
    (junction / "elsewhere").write_text("mine")
    honest = Path.lstat

    def lstat(path):
        found = honest(path)
        if path == junction:
            return types.SimpleNamespace(st_mode=found.st_mode, st_reparse_tag=JUNCTION)
        return found

    class Windows(Storage):
        def remove(self, path):
            removed.append(path)
            path.rename(tmp_path / "unlinked")

    monkeypatch.setattr(Path, "lstat", lstat)
    assert is_link(junction) and stat.S_ISDIR(junction.lstat().st_mode)
    assert not is_link(folder) and not is_link(tmp_path / "nothing")
    remove_tree(folder, Windows())
    assert removed == [junction] and (tmp_path / "unlinked" / "elsewhere").read_text() == "mine"


def blocked(times, winerror):
    """os.replace as Windows has it while a reader has the file open, so many times."""
    left, honest = [times], os.replace

    def replace(old, new):
        if left[0]:
            left[0] -= 1
            error = PermissionError(
                13, "The process cannot access the file because it is being used by another process"
            )
            error.winerror = winerror
            raise error
        honest(old, new)

    return replace


@pytest.mark.parametrize("winerror", [5, 32])
def test_a_rename_that_a_reader_blocks_is_tried_again(tmp_path, monkeypatch, winerror):
    monkeypatch.setattr(os, "replace", blocked(3, winerror))
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize(("winerror", "seconds"), [(32, 0.05), (None, 60.0)])
def test_a_rename_that_stays_refused_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, winerror, seconds):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", blocked(10**9, winerror))
    monkeypatch.setattr(storage_module, "BLOCKED_SECONDS", seconds)
    with pytest.raises(Exception, match="file can't be written"):
        write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
