"""Whichever operation of a save fails, the latest checkpoint found is the old or the new one, intact."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pointers import point

pytestmark = pytest.mark.flushed

NEW = 1000
"""The value of the checkpoint that is being saved when the fault comes."""

SITUATIONS = {
    "the first one": dict(before=[], step=0, keep=2),
    "a third one that prunes": dict(before=[0, 250, 500, 750], step=1000, keep=2, best=True),
    "a best one": dict(before=[0, 250], step=500, keep=1, best=True),
    "the same step again": dict(before=[0, 250], step=250, keep=2),
    "the best step again": dict(before=[0, 250], step=250, keep=2, best_before=250),
    "after a rewind": dict(before=[0, 250, 500, 750], step=500, keep=2, latest=250),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, save_tiny, disk):
    """situation -> a folder of checkpoints just before the save, the number of its operations, and its writes."""
    made = {}
    for name, situation in SITUATIONS.items():
        folder = tmp_path_factory.mktemp("before")
        for step in situation["before"]:
            save_tiny(folder, step, best=step == situation.get("best_before", 0), keep=9)
        if "latest" in situation:
            point(folder, "latest", situation["latest"])
        trial = disk.Faulty()
        shutil.copytree(folder, folder / "trial")
        save_new(save_tiny, folder / "trial", situation, trial)
        shutil.rmtree(folder / "trial")
        made[name] = folder, trial.count, trial.writes
    return made


def save_new(save_tiny, folder, situation, storage):
    save_tiny(
        folder, situation["step"], NEW, best=situation.get("best", False), keep=situation["keep"], storage=storage
    )


def the_old_value(situation):
    return situation.get("latest", max(situation["before"], default=None))


def assert_survived(folder, situation, value_of, save_tiny):
    """The latest is old or new; nothing that should stay is gone; and the next save works and leaves no litter."""
    expected = {the_old_value(situation), NEW}
    if steps(folder):
        checkpoint, _ = find(folder, "latest")
        assert value_of(checkpoint) in expected
        for step in {0, situation.get("best_before", 0)} & set(situation["before"]):
            assert value_of(find(folder, str(step))[0]) in {step, NEW}
        if situation["before"]:
            assert value_of(find(folder, "best")[0]) in {situation.get("best_before", 0), NEW}
    else:
        assert None in expected, "every checkpoint is gone"
    save_tiny(folder, situation["step"] + 1, 2000, keep=1)
    assert value_of(find(folder, "latest")[0]) == 2000
    assert sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(".")) == []
    for step in steps(folder):
        find(folder, str(step))


def each_operation(prepared, situation, tmp_path, only_writes=False):
    folder, operations, writes = prepared[situation]
    assert operations > 20 and len(writes) > 6
    for number in writes if only_writes else range(operations):
        place = tmp_path / str(number)
        shutil.copytree(folder, place, copy_function=os.link)  # no file is ever changed in its place
        yield number, place
        shutil.rmtree(place)


@pytest.mark.parametrize("fault", ["kill", "torn"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_killed_at_any_operation_the_old_or_the_new_checkpoint_is_found(
    prepared, tmp_path, disk, save_tiny, value_of, situation, fault
):
    for number, folder in each_operation(prepared, situation, tmp_path, only_writes=fault == "torn"):
        with pytest.raises(disk.Killed):
            save_new(save_tiny, folder, SITUATIONS[situation], disk.Faulty(number, fault))
        assert_survived(folder, SITUATIONS[situation], value_of, save_tiny)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_after_a_power_cut_that_loses_all_that_was_not_flushed_the_old_or_the_new_checkpoint_is_found(
    prepared, tmp_path, disk, save_tiny, value_of, situation
):
    for number, folder in each_operation(prepared, situation, tmp_path):
        storage = disk.Faulty(number)
        with pytest.raises(disk.Killed):
            save_new(save_tiny, folder, SITUATIONS[situation], storage)
        storage.lose_what_was_not_flushed()
        assert_survived(folder, SITUATIONS[situation], value_of, save_tiny)


def test_a_saved_checkpoint_is_there_after_a_power_cut(tmp_path, disk, save_tiny, value_of):
    save_tiny(tmp_path, 0, best=True)
    storage = disk.Faulty()
    save_tiny(tmp_path, 250, NEW, best=True, storage=storage)
    storage.lose_what_was_not_flushed()
    for which in ("latest", "best"):
        checkpoint, lines = find(tmp_path, which)
        assert value_of(checkpoint) == NEW and lines == []


@pytest.mark.parametrize(("fault", "code"), [("once", errno.ENOSPC), ("from then on", errno.EIO)])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_refused_at_any_operation_it_is_said_in_one_line_and_what_was_saved_stays(
    prepared, tmp_path, disk, save_tiny, value_of, situation, code, fault
):
    for number, folder in each_operation(prepared, situation, tmp_path):
        proven = False
        try:
            save_new(save_tiny, folder, SITUATIONS[situation], disk.Faulty(number, fault, code))
            proven = True  # what failed was the removal of something old, which waits for the next time
        except LabError as error:
            assert os.strerror(code) in str(error) and "\n" not in str(error)
        if proven:
            assert value_of(find(folder, "latest")[0]) == NEW
        assert_survived(folder, SITUATIONS[situation], value_of, save_tiny)


def test_a_full_disk_leaves_everything_as_it_was(prepared, tmp_path, disk, save_tiny):
    """With one refusal, after which the disk works again, no trace of the try remains."""
    for situation, (folder, _, _) in prepared.items():
        before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for number in range(1, 12, 2):
            place = tmp_path / "tried"
            shutil.copytree(folder, place)
            with pytest.raises(LabError, match="can't be saved"):
                save_new(save_tiny, place, SITUATIONS[situation], disk.Faulty(number, "once"))
            assert {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
            assert [entry.name for entry in place.iterdir() if entry.name.startswith(".")] == []
            shutil.rmtree(place)


def test_a_checkpoint_that_is_not_read_back_as_written_is_refused_and_nothing_is_pruned(
    tmp_path, disk, save_tiny, value_of
):
    class Lying(disk.Faulty):
        """Reports a successful write, but flips a bit."""

        def write(self, file, content):
            content = bytearray(content)
            content[-1] ^= 1
            super().write(file, bytes(content))

    for step in (0, 250, 500):
        save_tiny(tmp_path, step, keep=9)
    for step in (500, 750):
        with pytest.raises(LabError, match="was not read back as it was written"):
            save_tiny(tmp_path, step, NEW, keep=1, storage=Lying())
        assert steps(tmp_path) == [0, 250, 500]
        assert value_of(find(tmp_path, "latest")[0]) == 500


def test_too_little_free_space_is_said_before_anything_is_written(tmp_path, disk, save_tiny, monkeypatch):
    save_tiny(tmp_path, 0)
    storage = disk.Faulty()
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(LabError, match="the checkpoint of step 250 needs .* MB .* free some space"):
        save_tiny(tmp_path, 250, storage=storage)
    assert storage.count == 0 and steps(tmp_path) == [0]


def test_a_folder_that_may_not_be_written_is_named_in_one_line(tmp_path, save_tiny):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(LabError, match="checkpoints") as caught:
        save_tiny(tmp_path / "checkpoints", 1)
    assert "\n" not in str(caught.value)


def test_ctrl_c_in_the_middle_of_a_save_leaves_everything_as_it_was(tmp_path, disk, save_tiny, value_of):
    class Interrupted(disk.Faulty):
        def write(self, file, content):
            if self.count > 6:
                raise KeyboardInterrupt
            super().write(file, content)

    save_tiny(tmp_path, 250)
    for step in (250, 500):
        with pytest.raises(KeyboardInterrupt):
            save_tiny(tmp_path, step, NEW, storage=Interrupted())
        assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["latest.json", "step-00000250"]
        assert value_of(find(tmp_path, "latest")[0]) == 250


SAVER = """
import sys
from pathlib import Path
import torch
from lmlab.checkpoint.pointers import Best
from lmlab.checkpoint.pruning import Retention
from lmlab.checkpoint.saving import save_and_point
step = int(sys.argv[2])
while True:
    step += 1
    parts = {"weights": {"x": torch.full((50_000,), float(step))}, "optimizer": {"step": torch.tensor(step)}}
    best = Best(step=step // 3 * 3, loss=0.5) if step >= 3 else None
    save_and_point(Path(sys.argv[1]), step, parts, {"value": step}, retention=Retention(keep=2), best=best)
    print(step, flush=True)
"""


def test_a_process_that_is_killed_while_it_saves_again_and_again_loses_nothing_that_it_had_proven(tmp_path):
    last = 0
    for round_number in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path), str(last)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        with process:
            for _ in range(2 + round_number):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
            last = max([last, *map(int, process.stdout.read().split())])
        checkpoint, _ = find(tmp_path, "latest")
        assert checkpoint.state["value"] in (last, last + 1)
        assert (checkpoint.tensors("weights")["x"] == checkpoint.step).all()
        assert find(tmp_path, "best")[0].step % 3 == 0 or last < 3
