"""Journals: their content after a crash, and the lines that a resume discards."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError, StorageError
from lmlab.files import DISK, Storage, writing_failed
from lmlab.runs import Journal, RunLock, read_lines
from lmlab.runs.journal import FILES

pytestmark = pytest.mark.flushed


def journal_in(folder, segment=0, storage=DISK):
    return Journal(folder, run_id="abc", segment=segment, storage=storage)


def fill(journal, counts, first=0):
    for file, count in counts.items():
        for step in range(first, first + count):
            journal.append(file, "train", step=step, tokens=step * 10, loss=1.5, words="é\n\u2028")


def live(folder):
    return {file: read_lines(folder / f"{file}.jsonl") for file in FILES}


def test_every_line_says_whose_it_is_and_when(tmp_path):
    fill(journal_in(tmp_path, segment=3), {"metrics": 1})
    (line,) = read_lines(tmp_path / "metrics.jsonl")
    assert line.pop("time").endswith("Z")
    assert line == {
        "format": 1, "id": "abc", "segment": 3, "step": 0, "tokens": 0, "kind": "train",
        "loss": 1.5, "words": "é\n\u2028",
    }  # fmt: skip


def test_a_number_that_is_not_finite_becomes_null_and_numpy_s_are_numbers(tmp_path):
    import numpy as np

    values = {
        "loss": float("nan"),
        "more": [float("-inf"), {"x": np.float32("inf")}],
        "count": np.int64(3),
        "b": np.float32(0.5),
    }
    journal_in(tmp_path).append("events", "x", step=1, tokens=1, **values)
    (line,) = read_lines(tmp_path / "events.jsonl")
    assert (line["loss"], line["more"], line["count"], line["b"]) == (None, [None, {"x": None}], 3, 0.5)


def test_every_line_is_json_that_any_tool_can_read_even_with_half_a_character_in_it(tmp_path):
    journal_in(tmp_path).append("samples", "sample", step=1, tokens=1, text="half \udc80 ☕")
    (line,) = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["text"] == "half \udc80 ☕"


def test_a_value_cannot_take_the_place_of_what_every_line_has(tmp_path):
    for name in ("time", "id", "segment", "file", "format"):
        with pytest.raises(ValueError, match=name):
            journal_in(tmp_path).append("events", "x", step=1, tokens=1, **{name: 1})
    with pytest.raises(ValueError, match="expected one of metrics, samples, events"):
        journal_in(tmp_path).append("../escape", "x", step=1, tokens=1)


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_a_torn_last_line_is_left_out_by_readers_and_moved_away_by_the_next_writer(tmp_path, cut):
    fill(journal_in(tmp_path), {"metrics": 3})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [line["step"] for line in read_lines(path)] == [0, 1]
    fill(journal_in(tmp_path), {"metrics": 1}, first=7)
    assert [line["step"] for line in read_lines(path)] == [0, 1, 7]
    (torn,) = read_lines(tmp_path / "discarded.jsonl")
    assert torn["file"] == "metrics" and (torn.get("step") == 2 or '"step": 2' in torn["torn"])


def test_a_damaged_line_and_one_of_another_format_are_named(tmp_path):
    fill(journal_in(tmp_path), {"metrics": 2})
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    for bad, words in (
        (b"{nonsense", "damaged in line 1"),
        (b"[1]", "damaged in line 1"),
        (b"\xff", "line 1"),
        (b'{"format": 2}', "format 2"),
    ):
        path.write_bytes(bad + b"\n" + whole)
        with pytest.raises(LabError, match=words) as caught:
            read_lines(path)
        assert "\n" not in str(caught.value)
    assert read_lines(tmp_path / "none.jsonl") == []


@given(st.data())
def test_any_history_of_appends_crashes_and_rewinds_keeps_every_line_in_one_place(tmp_path_factory, data):
    """A slow, obvious version beside it: lists that are cut, and a list of what was cut off."""
    folder = tmp_path_factory.mktemp("run")
    journal = journal_in(folder)
    expected = {file: [] for file in FILES}
    discarded = []
    checkpoints = [(journal.lengths(), {file: 0 for file in FILES})]
    number = 0
    for _ in range(data.draw(st.integers(1, 8))):
        action = data.draw(st.sampled_from(["append", "append", "checkpoint", "rewind", "torn"]))
        if action == "append":
            file = data.draw(st.sampled_from(FILES))
            for _ in range(data.draw(st.integers(1, 3))):
                number += 1
                journal.append(file, "x", step=number, tokens=0)
                expected[file].append(number)
        elif action == "checkpoint":
            checkpoints.append((journal.lengths(), {file: len(expected[file]) for file in FILES}))
        else:
            if action == "torn" and expected["metrics"]:
                with open(folder / "metrics.jsonl", "ab") as file:
                    file.write(b'{"format": 1, "step": -1')
            place = data.draw(st.integers(0, len(checkpoints) - 1))
            lengths, counts = checkpoints[place]
            del checkpoints[place + 1 :]
            journal = journal_in(folder)
            assert journal.rewind(lengths) == []
            for file in FILES:
                discarded += expected[file][counts[file] :]
                del expected[file][counts[file] :]
            assert journal.lengths() == lengths
    found = {file: [line["step"] for line in lines] for file, lines in live(folder).items()}
    assert found == expected
    assert [line["step"] for line in read_lines(folder / "discarded.jsonl") if "step" in line] == discarded


class DiesAt(Storage):
    """A disk whose process dies at the n-th operation, in the middle of it where it is a write."""

    def __init__(self, number):
        self.left = number

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def open(self, path, mode="wb"):
        self._count()
        return super().open(path, mode)

    def write(self, file, content):
        self._count()
        super().write(file, content[: len(content) // 2])
        self._count()
        super().write(file, content[len(content) // 2 :])

    def truncate(self, file, length):
        self._count()
        super().truncate(file, length)
        self._count()

    def flush(self, file):
        self._count()

    def flush_folder(self, folder):
        self._count()


def test_a_rewind_that_dies_anywhere_is_finished_by_the_next_without_losing_or_doubling_a_line(tmp_path):
    deaths = 0
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        journal = journal_in(folder)
        fill(journal, {"metrics": 2, "events": 1})
        lengths = journal.lengths()
        fill(journal, {"metrics": 3, "events": 2, "samples": 1}, first=10)
        before = live(folder)
        try:
            journal_in(folder, storage=DiesAt(number)).rewind(lengths)
        except KeyboardInterrupt:
            deaths += 1
        else:
            break
        for file, lines in live(folder).items():
            assert lines in (before[file], before[file][: {"metrics": 2, "events": 1, "samples": 0}[file]])
        journal_in(folder).rewind(lengths)
        assert journal.lengths() == lengths
        moved = [(line["file"], line["step"]) for line in read_lines(folder / "discarded.jsonl")]
        assert sorted(moved) == [
            ("events", 10),
            ("events", 11),
            ("metrics", 10),
            ("metrics", 11),
            ("metrics", 12),
            ("samples", 10),
        ]
    assert deaths > 20


def test_a_rewind_without_anything_beyond_writes_nothing(tmp_path):
    journal = journal_in(tmp_path)
    fill(journal, {"metrics": 2})
    journal_in(tmp_path, storage=DiesAt(0)).rewind(journal.lengths())
    assert not (tmp_path / "discarded.jsonl").exists()


def test_a_run_without_a_checkpoint_is_rewound_to_nothing(tmp_path):
    journal = journal_in(tmp_path)
    fill(journal, {"metrics": 2, "samples": 1})
    journal.rewind({})
    assert journal.lengths() == {"metrics": 0, "samples": 0, "events": 0}
    assert len(read_lines(tmp_path / "discarded.jsonl")) == 3


def test_lines_that_a_checkpoint_counted_and_that_are_gone_are_said_but_stop_nothing(tmp_path):
    journal = journal_in(tmp_path)
    fill(journal, {"metrics": 2})
    (line,) = journal.rewind({"metrics": 10_000})
    assert "metrics.jsonl has lost" in line
    assert len(read_lines(tmp_path / "metrics.jsonl")) == 2


@pytest.mark.parametrize(
    "lengths", [{"metrics": -1}, {"metrics": "9"}, {"metrics": True}, {"../x": 1}, {"metrics": 1.5}]
)
def test_hostile_lengths_are_refused(tmp_path, lengths):
    fill(journal_in(tmp_path), {"metrics": 2})
    with pytest.raises(LabError, match="journal lengths are damaged"):
        journal_in(tmp_path).rewind(lengths)
    assert len(read_lines(tmp_path / "metrics.jsonl")) == 2


def test_a_length_in_the_middle_of_a_line_keeps_the_whole_lines_before_it(tmp_path):
    journal = journal_in(tmp_path)
    fill(journal, {"metrics": 3})
    journal.rewind({"metrics": journal.lengths()["metrics"] - 5})
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [0, 1]


def test_flush_goes_to_the_disk_for_each_file_that_was_appended_to(tmp_path):
    class Watching(Storage):
        flushed = []

        def flush(self, file):
            self.flushed.append(Path(file.name).name)

        def flush_folder(self, folder):
            self.flushed.append(folder)

    journal = journal_in(tmp_path, storage=Watching())
    fill(journal, {"metrics": 1, "events": 1})
    journal.flush()
    assert Watching.flushed == ["events.jsonl", "metrics.jsonl", tmp_path]


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = journal_in(tmp_path)
    monkeypatch.setattr(Storage, "write", full)
    with pytest.raises(StorageError, match="metrics.jsonl can't be written: No space left"):
        fill(journal, {"metrics": 1})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system can't be told to follow no link")
def test_lines_are_not_appended_through_a_link(tmp_path):
    (tmp_path / "elsewhere").write_text("mine\n")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabError, match="metrics.jsonl can't be"):
        fill(journal_in(tmp_path), {"metrics": 1})
    assert (tmp_path / "elsewhere").read_text() == "mine\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_writer_that_is_killed_leaves_whole_lines_and_perhaps_a_torn_one(tmp_path):
    code = (
        "import sys; from pathlib import Path; from lmlab.runs import Journal\n"
        "journal = Journal(Path(sys.argv[1]), 'abc', 0)\n"
        "for step in range(10**9):\n"
        "    journal.append('metrics', 'train', step=step, tokens=step, text='x' * 500)\n"
        "    if step == 50: print(step, flush=True)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=root) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    steps = [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")]
    assert len(steps) > 50 and steps == list(range(len(steps)))


def test_a_run_whose_folder_was_removed_under_its_training_is_said_to_be_gone(make_run):
    """Not that space should be freed: the disk is as it was."""
    run = make_run("doomed")
    journal = Journal(run.folder, run_id=run.id, segment=0)
    journal.append("metrics", "train", step=1, tokens=1)
    with RunLock(run.folder) as lock:
        shutil.rmtree(run.folder)
        for write in (lambda: journal.append("metrics", "train", step=2, tokens=2), journal.flush, lock.require):
            with pytest.raises(
                StorageError, match="doomed was removed or moved while its training ran: put it back, then go on"
            ):
                write()


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.ENOSPC, "free some space"), (errno.EACCES, "change its permissions"), (errno.EROFS, "that can be written"),
        (errno.EIO, "check the disk"), (errno.ENAMETOOLONG, "a shorter name"), (errno.ENOENT, "was removed or moved"),
    ],
)  # fmt: skip
def test_what_can_be_done_about_a_refused_write_follows_from_the_reason(code, cure, tmp_path):
    told = str(writing_failed(tmp_path / "x", OSError(code, os.strerror(code))))
    assert cure in told and os.strerror(code) in told
    assert ("free some space" in told) == (code == errno.ENOSPC)
