"""A `data extend` that loses power at any disk operation leaves a complete data set, or the next call completes it."""

import hashlib
import os
import shutil

import numpy as np
import pytest

from lmlab import LabError
from lmlab.data.dataset import list_datasets, open_dataset
from lmlab.data.extending import extend
from lmlab.data.finish import save_array
from lmlab.data.preparation import prepare
from lmlab.data.units import UNIT
from lmlab.files import DISK
from lmlab.recipe import Data
from tests.checkpoint.conftest import FaultyStorage, Killed


def contents(folder):
    """SHA-256 by name; without the manifest, which has the time in it."""
    names = sorted(set(os.listdir(folder)) - {"manifest.json"})
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def text(first, count):
    return "\n<|endoftext|>\n".join(
        f"Document {number}. Its own line, über all." for number in range(first, first + count)
    )


class Extended:
    """A data set that is there, the text that is added, and what both come to where nothing happens."""

    def __init__(self, folder):
        (folder / "old.txt").write_text(text(0, 40))
        (folder / "new.txt").write_text(text(100, 40))
        self.new, self.before = str(folder / "new.txt"), folder / "before"
        self.old = prepare(Data(corpus=str(folder / "old.txt"), tokenizer="bytes"), self.before)
        shutil.copytree(self.before, folder / "untouched")
        made = self.extend(folder / "untouched")
        self.id, self.contents, self.old_contents = made.id, contents(made.folder), contents(self.old.folder)

    def extend(self, root):
        old = open_dataset(root / "datasets" / self.old.folder.name)
        return extend(old, [self.new], folder=root).dataset


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    return Extended(tmp_path_factory.mktemp("extended"))


@pytest.fixture
def on_faulty_disk(monkeypatch):
    """on_faulty_disk(...): all disk operations are counted and fail as `FaultyStorage` is set up."""

    def install(*arguments):
        monkeypatch.setattr(DISK, "__class__", FaultyStorage)
        monkeypatch.setattr(DISK, "__dict__", {})
        DISK.__init__(*arguments)
        return DISK

    return install


def test_all_that_the_manifest_hashes_was_flushed_before_it_was_written(extended, tmp_path, monkeypatch):
    shutil.copytree(extended.before, tmp_path / "cache")
    flushed, real, replace = {}, os.fsync, os.replace
    at_manifest = []

    def fsync(descriptor):
        real(descriptor)
        about = os.fstat(descriptor)
        flushed[about.st_ino] = about.st_size

    def noticed(old, new):
        if os.path.basename(new) == "manifest.json":
            folder = os.path.dirname(new)
            at_manifest.append({name: os.stat(os.path.join(folder, name)) for name in extended.contents})
            for name, about in at_manifest[-1].items():
                assert flushed.get(about.st_ino) == about.st_size, f"{name} was not flushed"
        replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", noticed)
    extended.extend(tmp_path / "cache")
    assert len(at_manifest) == 1


def test_it_is_there_after_a_power_cut_right_behind_it(extended, tmp_path, on_faulty_disk, monkeypatch):
    shutil.copytree(extended.before, tmp_path / "cache")
    storage = on_faulty_disk()
    made = extended.extend(tmp_path / "cache")
    storage.lose_what_was_not_flushed()
    monkeypatch.undo()
    assert contents(made.folder) == extended.contents
    open_dataset(made.folder).verify()


def test_after_a_power_cut_that_loses_all_that_was_not_flushed_the_next_one_makes_the_same(
    extended, tmp_path, on_faulty_disk, monkeypatch
):
    shutil.copytree(extended.before, tmp_path / "counted")
    storage = on_faulty_disk()
    extended.extend(tmp_path / "counted")
    operations = storage.count
    assert operations > 60
    for number in range(operations):
        root = tmp_path / str(number)
        shutil.copytree(extended.before, root)
        storage = on_faulty_disk(number)
        with pytest.raises(Killed):
            extended.extend(root)
        storage.lose_what_was_not_flushed()
        monkeypatch.undo()
        for found in list_datasets(root):
            found.verify()
        made = extended.extend(root)
        assert (made.id, contents(made.folder)) == (extended.id, extended.contents), number
        assert contents(root / "datasets" / extended.old.folder.name) == extended.old_contents
        names = {extended.old.folder.name, made.folder.name}
        assert set(os.listdir(root / "datasets")) == names, number
        assert not list(root.rglob("*.tmp")), number
        shutil.rmtree(root)


def test_a_link_that_lies_where_tokens_are_written_is_not_followed(extended, tmp_path):
    """A planted link is replaced where a new file is made, and refused where an earlier one goes on."""
    shutil.copytree(extended.before, tmp_path / "cache")
    made = extended.extend(tmp_path / "cache")
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    plan = next(path.stem for path in (tmp_path / "cache/locks").iterdir() if path.stem.startswith(made.id))
    shutil.rmtree(made.folder)
    work = tmp_path / f"cache/datasets/.building-{plan}"
    for name in ("tokens-train.bin", "units-train.npy", "units-train.tmp"):
        work.mkdir(exist_ok=True)
        try:
            (work / name).symlink_to(kept)
        except OSError:
            pytest.skip("this system lets nobody make links")
    assert contents(extended.extend(tmp_path / "cache").folder) == extended.contents
    shutil.rmtree(made.folder)
    (work / "new").mkdir(parents=True)
    (work / "new/tokens-train.bin").symlink_to(kept)
    with pytest.raises(LabError, match=r"tokens-train\.bin"):
        extended.extend(tmp_path / "cache")
    assert kept.read_text() == "kept"


def test_arrays_are_written_as_numpy_writes_them(tmp_path):
    for array in (np.arange(5, dtype="<i8"), np.zeros(0, "<i8"), np.zeros(3, UNIT), np.arange(300_000)[::2]):
        save_array(tmp_path / "ours.npy", array)
        np.save(tmp_path / "numpys.npy", array)
        assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


def test_a_damaged_data_set_of_the_same_name_makes_room(extended, tmp_path):
    shutil.copytree(extended.before, tmp_path / "cache")
    made = extended.extend(tmp_path / "cache")
    (made.folder / "manifest.json").write_text("damaged")
    assert contents(extended.extend(tmp_path / "cache").folder) == extended.contents
    made.verify()
