"""Preparing a data set: its contents, caching, and detection of every change and interruption."""

import errno
import gzip
import io
import json
import lzma
import os
import shutil
import time

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from lmlab import LabError, StorageError
from lmlab.data import preparation as module
from lmlab.data.dataset import find_dataset, list_datasets, open_dataset
from lmlab.data.preparation import prepare, prepared
from lmlab.data.sources import resolve
from lmlab.data.tokenizers import build_tokenizer
from lmlab.recipe import Data
from tests.data.support import Listener, documents_in, write_stories
from tests.shared import shared_data


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def stories(tmp_path):
    path = tmp_path / "stories.txt"
    write_stories(path, 120)
    settle(path)
    return path


def settle(path):
    """Make a file look as if it was written a while ago, so that its hash is remembered."""
    os.utime(path, (time.time() - 100,) * 2)


def data_of(path, **settings):
    return Data(corpus=str(path), **{"tokenizer": "bytes", "vocabulary": 300, "unknown": "replace", **settings})


def read_documents(dataset, split):
    """Every document of a split, decoded from its own tokens."""
    tokens, starts = dataset.tokens(split), dataset.document_starts(split)
    return [dataset.tokenizer.decode(tokens[begin:end]) for begin, end in zip(starts, starts[1:], strict=False)]


class TestContents:
    @pytest.mark.parametrize("tokenizer", ["bytes", "bpe", "characters", "words"])
    @pytest.mark.parametrize("split", ["hash", "tail"])
    def test_the_tokens_of_both_splits_are_the_corpus_s_documents_each_ended(self, stories, root, tokenizer, split):
        dataset = prepare(data_of(stories, tokenizer=tokenizer, split=split, valid_share=0.3), root)
        found = read_documents(dataset, "train") + read_documents(dataset, "valid")
        expected = documents_in(stories)
        if tokenizer == "words":  # the first and last words are rare, and unknown in validation
            found, expected = ([text.split()[2:-1] for text in texts] for texts in (found, expected))
        assert sorted(found) == sorted(expected)
        end = dataset.tokenizer.end_of_text
        for name in dataset.splits:
            tokens, starts = dataset.tokens(name), dataset.document_starts(name)
            assert (tokens[starts[1:] - 1] == end).all()
            assert int((tokens == end).sum()) == len(starts) - 1
            assert len(dataset.document_bytes(name)) == len(starts) - 1

    def test_order_within_a_split_is_the_corpus_s(self, stories, root):
        dataset = prepare(data_of(stories, split="hash"), root)
        numbers = [int(text.split()[1].rstrip(":")) for text in read_documents(dataset, "train")]
        assert numbers == sorted(numbers)

    @pytest.mark.parametrize("share", [0.1, 0.37])
    def test_one_document_is_cut_by_characters_and_has_no_end_of_text(self, tmp_path, root, share):
        path = tmp_path / "a.txt"
        text = "Ein Bär läuft.\n" * 400
        path.write_text(text)
        dataset = prepare(data_of(path, tokenizer="bpe", valid_share=share), root)
        kept = int((1 - share) * len(text))
        assert dataset.tokenizer.decode(dataset.tokens("train")) == text[:kept]
        assert dataset.tokenizer.decode(dataset.tokens("valid")) == text[kept:]
        assert dataset.facts["split"]["cut_characters"] == kept

    def test_published_parts_keep_the_test_split(self, tmp_path, root):
        folder = tmp_path / "parts"
        folder.mkdir()
        written = {
            part: write_stories(folder / f"{part}.txt", 5, first=100 * i)
            for i, part in enumerate(("train", "valid", "test"))
        }
        dataset = prepare(data_of(folder), root)
        assert dataset.splits == ("train", "valid", "test")
        for part, texts in written.items():
            assert [text.strip("\n") for text in read_documents(dataset, part)] == [text.strip("\n") for text in texts]

    def test_words_and_bpe_learn_from_the_training_split_alone(self, tmp_path, root):
        folder = tmp_path / "parts"
        folder.mkdir()
        (folder / "train.txt").write_text("only training words here " * 50)
        (folder / "valid.txt").write_text("zebra zebra " * 200)
        words = prepare(data_of(folder, tokenizer="words", vocabulary=None), root).tokenizer
        assert words.unknown_symbols("only zebra") == ["zebra"]
        bpe = prepare(data_of(folder, tokenizer="bpe", vocabulary=290), root).tokenizer
        assert len(bpe.encode(" training")) < len(bpe.encode(" zebra"))

    def test_characters_know_the_whole_corpus_s_alphabet(self, tmp_path, root):
        path = tmp_path / "a.txt"
        path.write_text("abc " * 100 + "z" * 100)
        assert prepare(data_of(path, tokenizer="characters", unknown="refuse"), root).vocabulary_size == 5

    def test_text_that_looks_like_a_special_token_stays_text(self, tmp_path, root):
        path = tmp_path / "a.jsonl"
        texts = [f"before <|endoftext|> after {number}" for number in range(60)]
        path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
        dataset = prepare(data_of(path, tokenizer="bpe"), root)
        assert sorted(read_documents(dataset, "train") + read_documents(dataset, "valid")) == sorted(texts)

    def test_a_given_tokenizer_reads_another_text(self, stories, root):
        given = build_tokenizer(Data(tokenizer="bpe", vocabulary=260), ["another text"], documents_end=True)
        dataset = prepare(data_of(stories, tokenizer="bpe"), root, tokenizer=given)
        assert dataset.tokenizer.to_json() == given.to_json()
        assert dataset.id != prepare(data_of(stories, tokenizer="bpe"), root).id

    def test_symbol_that_the_tokenizer_refuses_is_named_in_one_line_and_leaves_no_data_set(self, stories, root):
        given = build_tokenizer(Data(tokenizer="characters"), ["abc"], documents_end=True)
        with pytest.raises(LabError, match="symbol 'S'") as caught:
            prepare(data_of(stories), root, tokenizer=given)
        assert "\n" not in str(caught.value)
        assert list_datasets(root) == []

    def test_large_vocabulary_is_stored_in_four_bytes(self):
        from lmlab.data.token_files import token_type

        assert [token_type(size).itemsize for size in (2, 65_536, 65_537)] == [2, 2, 4]


class TestOnce:
    def test_the_second_time_nothing_is_read_or_made(self, stories, root):
        first = prepare(data_of(stories, tokenizer="bpe"), root)
        made = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        listener = Listener()
        second = prepare(data_of(stories, tokenizer="bpe"), root, listener)
        assert (second.id, second.folder, listener.tasks) == (first.id, first.folder, [])
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == made

    def test_looking_for_it_makes_nothing(self, stories, root):
        assert prepared(data_of(stories), root) is None
        made = prepare(data_of(stories), root)
        assert prepared(data_of(stories), root).id == made.id
        assert find_dataset(made.id, root).folder == open_dataset(made.folder).folder == made.folder

    def test_changed_source_makes_a_new_data_set_and_keeps_the_old(self, stories, root):
        old = prepare(data_of(stories), root)
        write_stories(stories, 121)
        new = prepare(data_of(stories), root)
        assert new.id != old.id
        assert {dataset.id for dataset in list_datasets(root)} == {old.id, new.id}

    @pytest.mark.parametrize(
        "changes",
        [{"tokenizer": "characters"}, {"split": "tail"}, {"valid_share": 0.2}, {"separator": "\n"}],
    )
    def test_changed_settings_make_a_new_data_set(self, stories, root, changes):
        assert prepare(data_of(stories, **changes), root).id != prepare(data_of(stories), root).id

    def test_settings_that_change_nothing_find_the_same(self, stories, root):
        base = prepare(data_of(stories), root)
        assert prepare(data_of(stories, order="random", vocabulary=999, separator="<|endoftext|>"), root).id == base.id

    def test_the_same_text_in_another_file_is_the_same_data_set(self, stories, root, tmp_path):
        base = prepare(data_of(stories), root)
        packed = tmp_path / "other name.txt.xz"
        packed.write_bytes(lzma.compress(stories.read_bytes()))
        again = prepare(data_of(packed), root)
        assert (again.id, again.folder) == (base.id, base.folder)
        assert len(list_datasets(root)) == 1

    def test_damaged_data_set_is_made_again(self, stories, root):
        base = prepare(data_of(stories), root)
        tokens = np.array(base.tokens("train"))
        (base.folder / "tokens-train.bin").write_bytes(b"short")
        again = prepare(data_of(stories), root)
        assert again.id == base.id
        assert (again.tokens("train") == tokens).all()

    def test_scan_is_shared_between_tokenizers(self, stories, root):
        prepare(data_of(stories), root)
        listener = Listener()
        prepare(data_of(stories, tokenizer="characters"), root, listener)
        assert [task for task, _ in listener.tasks] == ["encoding stories", "finding units and duplicates"]

    def test_progress_of_each_pass_adds_up_to_the_file(self, stories, root):
        listener = Listener()
        prepare(data_of(stories, tokenizer="bpe"), root, listener)
        size = stories.stat().st_size
        passes = [done for (task, total), done in zip(listener.tasks, listener.done, strict=True) if total == size]
        assert len(passes) == 4  # hashing, reading, training the tokenizer, encoding
        assert passes == [size] * 4


class TestLeftovers:
    def test_nothing_but_whole_data_sets_is_left(self, stories, root):
        dataset = prepare(data_of(stories, tokenizer="bpe"), root)
        assert [path.name for path in (root / "datasets").iterdir()] == [dataset.folder.name]
        names = {"tokens", "documents", "bytes", "units"}
        expected = {f"{name}-{split}" for name in names for split in ("train", "valid")} | {"manifest", "tokenizer"}
        assert {path.stem for path in dataset.folder.iterdir()} == expected

    def test_full_disk_is_one_line_and_the_work_stays(self, stories, root, monkeypatch):
        real = module.finish

        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module, "finish", full)
        with pytest.raises(StorageError, match="the disk is full: free some space and start again"):
            prepare(data_of(stories), root)
        assert list_datasets(root) == []
        monkeypatch.setattr(module, "finish", real)
        listener = Listener()
        prepare(data_of(stories), root, listener).verify()
        assert "encoding stories" in [task for task, _ in listener.tasks]

    def test_a_disk_that_fills_while_something_is_unpacked_is_no_damage_of_the_file(self, tmp_path, root, monkeypatch):
        table = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"text": ["one text", "another"] * 20}), table)
        path = tmp_path / "texts.parquet.gz"
        path.write_bytes(gzip.compress(table.getvalue()))

        class Full(io.BytesIO):
            def write(self, content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr("tempfile.TemporaryFile", Full)
            with pytest.raises(StorageError, match="can't be written: No space left on device"):
                prepare(data_of(path), root)
        prepare(data_of(path), root).verify()

    def test_old_work_that_can_t_be_looked_at_fails_nothing(self, stories, root, monkeypatch):
        (root / "datasets" / ".building-old").mkdir(parents=True)

        def refused(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("lmlab.data.building.file_system_time", refused)
        prepare(data_of(stories), root).verify()
        assert (root / "datasets" / ".building-old").is_dir()

    def test_work_that_nobody_finished_for_a_week_is_removed_unless_someone_is_at_it(self, stories, root, tmp_path):
        for age, name in ((8, "old"), (1, "young"), (8, "busy")):
            work = root / "datasets" / f".building-{name}"
            work.mkdir(parents=True)
            (work / "tokens-train.bin").write_bytes(b"x")
            os.utime(work, (time.time() - age * 24 * 3600,) * 2)
        (root / "locks").mkdir()
        with module.FileLock(root / "locks" / "busy.lock", Listener().say, ""):
            prepare(data_of(stories), root)
        left = {path.name for path in (root / "datasets").iterdir() if path.name.startswith(".")}
        assert left == {".building-young", ".building-busy"}


class TestView:
    def test_the_first_tokens_of_training_under_an_id_of_their_own(self, stories, root):
        base = prepare(data_of(stories), root)
        view = prepare(data_of(stories, tokens=1000), root)
        assert view.id != base.id
        assert view.tokens("train").tolist() == base.tokens("train")[:1000].tolist()
        assert (view.tokens("valid") == base.tokens("valid")).all()
        assert view.vocabulary_size == base.vocabulary_size
        for again in (
            find_dataset(view.id, root),
            open_dataset(view.folder),
            prepared(data_of(stories, tokens=1000), root),
        ):
            assert (again.id, len(again.tokens("train"))) == (view.id, 1000)
        assert len(list(view.folder.iterdir())) == 1

    @pytest.mark.parametrize("tokens", [2, 999, 1000])
    def test_documents_and_units_end_where_the_view_ends(self, stories, root, tokens):
        base = prepare(data_of(stories), root)
        view = prepare(data_of(stories, tokens=tokens), root)
        starts, units = view.document_starts("train"), view.units("train")
        inside = int((base.document_starts("train")[:-1] < tokens).sum())
        assert (len(starts) - 1, starts[-1]) == (inside, tokens)
        assert len(view.document_bytes("train")) == inside
        assert (units["start"] < tokens).all()
        is_text = view.tokens("train") != view.tokenizer.end_of_text
        assert units["bytes"].sum() == is_text.sum()
        assert (view.units("valid") == base.units("valid")).all()
        view.verify()

    def test_all_tokens_are_the_data_set_itself_and_more_are_refused(self, stories, root):
        base = prepare(data_of(stories), root)
        have = len(base.tokens("train"))
        assert prepare(data_of(stories, tokens=have), root).id == base.id
        with pytest.raises(LabError, match=f"data.tokens {have + 1:,} is more than the {have:,} tokens"):
            prepare(data_of(stories, tokens=have + 1), root)

    def test_a_view_whose_base_is_gone_is_refused(self, stories, root):
        base = prepare(data_of(stories), root)
        view = prepare(data_of(stories, tokens=100), root)
        shutil.rmtree(base.folder)
        with pytest.raises(LabError, match="is missing"):
            open_dataset(view.folder)


class TestPublishedCounts:
    """Counts that others published for these texts; the texts lie beside the checkout or the tests are skipped."""

    def test_shakespeare_characters(self, root):
        path = shared_data("tinyshakespeare/input.txt")
        dataset = prepare(Data(corpus=str(path), tokenizer="characters"), root)
        assert (dataset.vocabulary_size, dataset.name) == (65, "shakespeare")
        assert [len(dataset.tokens(split)) for split in dataset.splits] == [1_003_854, 111_540]
        text = path.read_text()
        assert dataset.tokenizer.decode(dataset.tokens("valid")) == text[1_003_854:]

    def test_shakespeare_gpt2(self, root, monkeypatch):
        path = shared_data("tinyshakespeare/input.txt")
        monkeypatch.setenv("LMLAB_GPT2", str(shared_data("gpt2-bpe")))
        dataset = prepare(Data(corpus=str(path), tokenizer="gpt2"), root)
        assert [len(dataset.tokens(split)) for split in dataset.splits] == [301_966, 36_059]

    def test_the_verdict_gpt2(self, root, monkeypatch):
        path = shared_data("llms-from-scratch/the-verdict.txt")
        monkeypatch.setenv("LMLAB_GPT2", str(shared_data("gpt2-bpe")))
        dataset = prepare(Data(corpus=str(path), tokenizer="gpt2"), root)
        text = path.read_text()
        assert dataset.tokenizer.decode(dataset.tokens("train")) == text[: int(0.9 * len(text))]

    def test_wikitext_2_lines(self, root):
        folder = shared_data("wikitext-2")
        settings = {
            "tokenizer": "words",
            "vocabulary": 1000,
            "lowercase": True,
            "unknown": "replace",
            "separator": "\n",
        }
        dataset = prepare(Data(corpus=str(folder), **settings), root)
        assert [len(dataset.document_starts(split)) - 1 for split in ("train", "valid")] == [23_767, 2_461]
        lengths = np.diff(dataset.document_starts("valid")) - 1
        assert int((lengths >= 5).sum()) == 2_396
        # 217,646 published tokens count an end of line for each of the 3,760 lines, empty ones too
        assert int(lengths.sum()) == 217_646 - 3_760

    def test_wikitext_2_articles(self):
        for split, articles in (("valid", 60), ("test", 60)):
            found = documents_in(shared_data(f"wikitext-2/{split}.txt.xz"), default="articles")
            assert len(found) == articles

    def test_tinystories_documents(self, root):
        path = shared_data("tinystories/tinystories-train.txt.xz")
        dataset = prepare(Data(corpus=str(path), tokenizer="characters"), root)
        assert sum(len(dataset.document_starts(split)) - 1 for split in dataset.splits) == 13_254
        # 92 distinct characters in the file, less the three that only the marker lines have, and the end of text
        assert dataset.vocabulary_size == 92 - 3 + 1
        marker_lines = 13_254 * len("\n<|endoftext|>\n")
        characters = sum(len(dataset.tokens(split)) for split in dataset.splits) - 13_254
        assert abs(characters + marker_lines - 11_022_507) <= 15


def test_this_python_s_library_is_a_corpus_without_any_download(root, monkeypatch):
    from lmlab.data import stdlib

    chosen = [
        entry for entry in stdlib.stdlib_files() if entry[0].startswith(("json/", "email/", "asyncio/", "logging/"))
    ]
    monkeypatch.setattr("lmlab.data.sources.stdlib_files", lambda: chosen)
    dataset = prepare(Data(corpus="stdlib", tokenizer="bytes", split="hash", valid_share=0.2), root)
    assert dataset.name == "stdlib"
    total = sum(path.stat().st_size for _, path in chosen)
    assert sum(dataset.facts["splits"][split]["bytes"] for split in dataset.splits) == total


IDS = {
    "bytes": ("3d1b21f91a0d96b5", "7a7d202a86a802d0710c36670ae105e8"),
    "characters": ("dcae1809da90a305", "3dafd11dcc49cc47025492d9a70dcb83"),
    "words": ("b41258e5d53359f5", "984985cde58eecc87951628a3aaa08a9"),
    "bpe": ("6f3d7d696164bbeb", "407a967f4660059953a8a839192f1841"),
}
"""Data id and plan hash from before windows of documents were introduced."""


@pytest.mark.parametrize("tokenizer", IDS)
def test_ids_never_change_while_nothing_new_is_asked_for(tmp_path, root, tokenizer):
    # Runs find their data by its id, and a start what was prepared by the hash.
    path = tmp_path / "a.txt"
    path.write_text("\n<|endoftext|>\n".join(f"story {n} of the sea and {n * n}" for n in range(300)))
    data = data_of(path, tokenizer=tokenizer)
    assert (prepare(data, root).id, module._plan_key(resolve(data, root), data, None)) == IDS[tokenizer]
