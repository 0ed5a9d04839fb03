"""Preparing a data set that is killed, raced or short of memory: nothing partial, nothing done twice, bounded memory."""

import gzip
import json
import os
import subprocess
import sys
import textwrap

import pytest

from lmlab.data.dataset import list_datasets
from lmlab.data.encode import read_journal
from lmlab.data.preparation import prepare
from lmlab.recipe import Data
from tests.data.support import Listener, write_stories

PREAMBLE = """
import os, signal, sys, time
from pathlib import Path
from lmlab.data import encode
from lmlab.data.preparation import prepare
from lmlab.recipe import Data

class Quiet:
    def begin(self, task, total, unit="bytes"): pass
    def advance(self, amount): pass
    def say(self, line): pass
    def end(self): pass
"""


def start(script, *arguments):
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    output, complaint = process.communicate(timeout=120)
    return process.returncode, output, complaint


KILL_AT_EVERY_DOOR = """
# One fork for each place: it's killed there, without warning, on top of what the forks before it left.
corpus, root, doors = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
encode.SHARD_CHARACTERS = encode.BATCH_CHARACTERS = 3000

def killed_at(door):
    passed = 0
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}
    def counted(name):
        def call(*arguments, **options):
            nonlocal passed
            passed += 1
            if passed == door:
                os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*arguments, **options)
        return call
    for name in real:
        setattr(os, name, counted(name))
    prepare(Data(corpus=corpus, tokenizer="bytes"), root)

for door in range(1, doors + 1):
    child = os.fork()
    if child == 0:
        killed_at(door)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    names = sorted(path.name for path in (root / "datasets").glob("*")) if (root / "datasets").exists() else []
    print(door, os.WIFSIGNALED(status), *names)
"""


def test_kill_at_any_write_leaves_nothing_half_made_and_is_taken_over(tmp_path):
    path = tmp_path / "stories.txt"
    write_stories(path, 150)
    expected = prepare(Data(corpus=str(path), tokenizer="bytes"), tmp_path / "undisturbed")
    root = tmp_path / "cache"
    status, output, complaint = finished(start(KILL_AT_EVERY_DOOR, path, root, 40))
    assert status == 0, complaint
    rows = [line.split() for line in output.splitlines()]
    killed = [row for row in rows if row[1] == "True"]
    assert len(killed) >= 15  # then it was whole, and there was nothing left to write
    for row in killed[:-3]:
        assert all(name.startswith(".building-") for name in row[2:]), row
    dataset = prepare(Data(corpus=str(path), tokenizer="bytes"), root)
    dataset.verify()
    assert dataset.id == expected.id
    for entry in expected.folder.iterdir():
        if entry.name != "manifest.json":
            assert (dataset.folder / entry.name).read_bytes() == entry.read_bytes(), entry.name
    assert [entry.name for entry in (root / "datasets").iterdir()] == [dataset.folder.name]


STOP_AFTER_SHARDS = """
corpus, root, shards = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
encode.SHARD_CHARACTERS = encode.BATCH_CHARACTERS = 5000
real, saved = encode.save_journal, 0
def save(*arguments):
    global saved
    real(*arguments)
    saved += 1
    if saved == shards:
        os.kill(os.getpid(), signal.SIGKILL)
encode.save_journal = save
prepare(Data(corpus=corpus, tokenizer="bpe", vocabulary=300), root)
"""


def test_finished_shards_are_not_encoded_again(tmp_path, monkeypatch):
    path = tmp_path / "stories.txt"
    texts = write_stories(path, 300)
    root = tmp_path / "cache"
    status, _, complaint = finished(start(STOP_AFTER_SHARDS, path, root, 4))
    assert status == -9, complaint
    assert list_datasets(root) == []
    (work,) = (root / "datasets").iterdir()
    journal = read_journal(work)
    assert not journal.done
    assert 0.2 * sum(map(len, texts)) < journal.characters < 0.8 * sum(map(len, texts))
    # what came after the last journal is there too, and is to be cut off
    for name in ("tokens-train.bin", "starts-train.bin"):
        with open(work / name, "ab") as file:
            file.write(b"torn")

    from lmlab.data.tokenizers import bpe

    encoded = []
    real = bpe.BPE.encode_batch
    monkeypatch.setattr(bpe.BPE, "encode_batch", lambda self, batch: encoded.extend(batch) or real(self, batch))
    listener = Listener()
    dataset = prepare(Data(corpus=str(path), tokenizer="bpe", vocabulary=300), root, listener)
    assert sum(map(len, encoded)) == sum(map(len, texts)) + 1 - journal.characters
    assert not [task for task, _ in listener.tasks if "tokenizer" in task]
    assert listener.tasks[-1][0] == "finding units and duplicates" and listener.ended
    monkeypatch.undo()
    undisturbed = prepare(Data(corpus=str(path), tokenizer="bpe", vocabulary=300), tmp_path / "undisturbed")
    assert dataset.id == undisturbed.id
    for split in dataset.splits:
        assert (dataset.tokens(split) == undisturbed.tokens(split)).all()
        assert (dataset.document_starts(split) == undisturbed.document_starts(split)).all()


def test_one_long_document_is_taken_over_in_its_middle(tmp_path, monkeypatch):
    path = tmp_path / "long.txt"
    path.write_text("".join(f"Line {number} of a text that has no end, éh?\n" for number in range(5000)))
    monkeypatch.setattr("lmlab.data.documents.PIECE_CHARACTERS", 5000)
    monkeypatch.setattr("lmlab.data.encode.SHARD_CHARACTERS", 10_000)
    monkeypatch.setattr("lmlab.data.encode.BATCH_CHARACTERS", 10_000)
    data = Data(corpus=str(path), tokenizer="bpe", vocabulary=300)
    from lmlab.data import encode

    real, saved = encode.save_journal, []

    def save(*arguments):
        real(*arguments)
        saved.append(1)
        if len(saved) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(encode, "save_journal", save)
        with pytest.raises(KeyboardInterrupt):
            prepare(data, tmp_path / "cache")
    dataset = prepare(data, tmp_path / "cache")
    text = path.read_text()
    kept = int(0.9 * len(text))
    assert dataset.tokenizer.decode(dataset.tokens("train")) == text[:kept]
    assert dataset.tokenizer.decode(dataset.tokens("valid")) == text[kept:]
    whole = dataset.tokenizer.encode(text[:kept])
    assert dataset.tokens("train").tolist() == whole.tolist()


TWO_AT_ONCE = """
corpus, root = sys.argv[1], Path(sys.argv[2])
encode.SHARD_CHARACTERS = encode.BATCH_CHARACTERS = 2000
real = encode.TokenFiles.append
def append(self, *arguments):
    time.sleep(0.02)
    return real(self, *arguments)
encode.TokenFiles.append = append
tasks = []
class Telling(Quiet):
    def begin(self, task, total, unit="bytes"): tasks.append(task)
    def say(self, line): tasks.append(line)
print(prepare(Data(corpus=corpus, tokenizer="bytes"), root, Telling()).folder.name, *tasks, sep="|")
"""


def test_two_processes_at_once_make_it_once(tmp_path):
    path = tmp_path / "stories.txt"
    write_stories(path, 150)
    both = [start(TWO_AT_ONCE, path, tmp_path / "cache") for _ in range(2)]
    found = []
    for process in both:
        status, output, complaint = finished(process)
        assert status == 0, complaint
        found.append(output.strip().split("|"))
    assert found[0][0] == found[1][0]
    assert sum("encoding stories" in tasks for tasks in found) == 1
    assert sum(any("another process is preparing stories" in task for task in tasks) for tasks in found) <= 1
    assert len(list((tmp_path / "cache" / "datasets").iterdir())) == 1


LITTLE_MEMORY = """
import resource
corpus, root, allowed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
from lmlab.data.tokenizers import load_tokenizer
import lmlab.data.preparation, lmlab.data.tokenizers.bytes, lmlab.data.tokenizers.characters
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + allowed, used + allowed))  # private memory; mapped files are free
dataset = prepare(Data(corpus=corpus, tokenizer=sys.argv[4], valid_share=0.01), root)
print(len(dataset.tokens("train")) + len(dataset.tokens("valid")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of private memory are Linux's")
@pytest.mark.parametrize(("layout", "tokenizer"), [("one document", "bytes"), ("many documents", "characters")])
def test_corpus_larger_than_the_memory_allowed_is_prepared(tmp_path, layout, tokenizer):
    allowed = 32_000_000
    line = "The quick brown fox jumps over the lazy dog, number %d.\n"
    block = "".join(line % number for number in range(20_000))
    if layout == "many documents":
        block = block.replace("00.\n", "00.\n<|endoftext|>\n")
    path = tmp_path / "large.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(35):
            file.write(block.encode())
    assert 35 * len(block) > allowed
    assert path.stat().st_size < allowed
    status, output, complaint = finished(start(LITTLE_MEMORY, path, tmp_path / "cache", allowed, tokenizer))
    assert status == 0, complaint[-2000:]
    markers = block.count("<|endoftext|>\n")
    end_of_text = 35 * markers + 1 if markers else 0
    line_breaks = 35 * markers
    assert int(output) == 35 * (len(block) - 14 * markers) - line_breaks + end_of_text


def test_journal_is_plain_json(tmp_path):
    from lmlab.data.encode import JOURNAL, EncodingJournal
    from lmlab.files import write_json

    write_json(tmp_path / JOURNAL, vars(EncodingJournal(pieces=3, characters=10)))
    assert read_journal(tmp_path) == EncodingJournal(pieces=3, characters=10)
    assert json.loads((tmp_path / JOURNAL).read_text())["done"] is False
    assert os.listdir(tmp_path) == [JOURNAL]
