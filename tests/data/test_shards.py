"""Data sets of shards with a token budget: one validation split, prefixes of one another, nothing read twice."""

import os
import re
import shutil
import signal
import time

import numpy as np
import pyarrow.parquet
import pytest

from lmlab import LabError, StorageError
from lmlab.data.dataset import list_datasets, open_dataset
from lmlab.data.preparation import prepare, prepared
from lmlab.data.progress import Silent
from lmlab.data.shards import encoding as module
from lmlab.data.shards.journal import ShardsJournal
from lmlab.data.shards.rows import Place, Rows, ShardMark
from lmlab.data.token_files import Marks
from lmlab.data.tokenizers import build_tokenizer
from lmlab.data.usage import shared_tokens
from lmlab.recipe import Data, Recipe, override
from tests.data.shard_files import web_documents, write_fineweb, write_folder, write_jsonl, write_texts
from tests.data.support import Listener


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "shards")
    return tmp_path / "shards"


def data_of(folder, tokens=None, **settings):
    return Data(
        corpus=str(folder),
        tokens=tokens,
        **{"tokenizer": "bytes", "valid_documents": 70, "vocabulary": 300, **settings},
    )


def read_documents(dataset, split):
    tokens, starts = dataset.tokens(split), dataset.document_starts(split)
    return [dataset.tokenizer.decode(tokens[begin:end]) for begin, end in zip(starts, starts[1:], strict=False)]


class TestBudgets:
    @pytest.mark.parametrize("tokenizer", ["bytes", "bpe", "characters", "words"])
    @pytest.mark.parametrize("kind", ["parquet", "jsonl"])
    def test_all_documents_in_their_order_the_first_ones_validate(self, tmp_path, root, kind, tokenizer):
        texts = write_folder(tmp_path / "shards", kind=kind, count=100)
        unknown = "replace" if tokenizer == "words" else "refuse"
        dataset = prepare(data_of(tmp_path / "shards", split="first", tokenizer=tokenizer, unknown=unknown), root)
        found = [read_documents(dataset, split) for split in ("valid", "train")]
        expected = [texts[:70], texts[70:]]
        if tokenizer == "words":  # the second word of each document, its number, is in no other
            found, expected = ([[text.split()[2:-1] for text in part] for part in parts] for parts in (found, expected))
        assert found == expected
        assert dataset.facts["split"]["rule"] == "first"
        dataset.verify()

    @pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
    def test_budgets_of_1x_2x_and_10x_share_validation_and_are_prefixes(self, folder, tmp_path, root, tokenizer):
        """Whether each is made by itself, or continues or cuts another."""
        apart = [
            prepare(data_of(folder, tokens, tokenizer=tokenizer), tmp_path / f"cache-{tokens}")
            for tokens in (5_000, 10_000, 50_000)
        ]
        together = [prepare(data_of(folder, tokens, tokenizer=tokenizer), root) for tokens in (5_000, 10_000, 50_000)]
        downwards = [
            prepare(data_of(folder, tokens, tokenizer=tokenizer), tmp_path / "other")
            for tokens in (50_000, 10_000, 5_000)
        ][::-1]
        largest = apart[-1]
        for made in zip(apart, together, downwards, strict=True):
            assert len({dataset.id for dataset in made}) == 1
            for dataset in made:
                assert dataset.tokenizer.to_json() == largest.tokenizer.to_json()
                assert dataset.tokens("valid").tobytes() == largest.tokens("valid").tobytes()
                assert dataset.document_starts("valid").tolist() == largest.document_starts("valid").tolist()
                assert (dataset.units("valid") == largest.units("valid")).all()
                have = len(dataset.tokens("train"))
                assert dataset.tokens("train").tobytes() == largest.tokens("train")[:have].tobytes()
        assert [len(dataset.tokens("train")) for dataset in apart] == [5_000, 10_000, 50_000]

    def test_a_data_set_ends_with_the_document_of_its_last_token(self, folder, root):
        dataset = prepare(data_of(folder, 5_000), root).whole
        starts = dataset.document_starts("train")
        assert starts[-2] < 5_000 <= starts[-1] == len(dataset.tokens("train"))

    def test_a_budget_that_ends_with_a_document_is_no_view(self, folder, root, tmp_path):
        length = len(prepare(data_of(folder, 5_000), root).whole.tokens("train"))
        exact = prepare(data_of(folder, length), root)
        assert exact.whole is exact
        larger = prepare(data_of(folder, 3 * length), tmp_path / "other")
        again = prepare(data_of(folder, length), tmp_path / "other")
        assert (again.id, len(again.tokens("train"))) == (exact.id, length)
        assert again.whole.id == larger.whole.id

    def test_published_parts_are_read_first_and_whole(self, tmp_path, root):
        for part, seed in (("train-0", 1), ("train-1", 2), ("validation", 3), ("test", 4)):
            write_texts(tmp_path / "parts" / f"{part}.parquet", web_documents(60, seed), rows=20)
        dataset = prepare(data_of(tmp_path / "parts", 3_000, valid_documents=1000), root)
        assert dataset.facts["split"]["rule"] == "parts"
        assert read_documents(dataset, "valid") == web_documents(60, 3)
        assert read_documents(dataset, "test") == web_documents(60, 4)
        assert read_documents(dataset.whole, "train") == web_documents(60, 1)[: len(read_documents(dataset, "train"))]

    def test_reading_the_whole_text_gives_the_same_tokens(self, tmp_path, root):
        """The path of plain texts, which scans first and then encodes, against the one of shards."""
        texts = [text.rstrip("\n") for text in web_documents(200)]
        write_jsonl(tmp_path / "a.jsonl", texts)
        (tmp_path / "a.txt").write_text("\n".join(texts))
        shards = prepare(data_of(tmp_path / "a.jsonl", split="first"), root)
        plain = prepare(data_of(tmp_path / "a.txt", split="first", separator="\n"), root)
        assert shards.id == plain.id
        other = root.with_name("other")
        plain = prepare(data_of(tmp_path / "a.txt", split="first", separator="\n"), other)
        assert prepare(data_of(tmp_path / "a.jsonl", split="first"), other).folder == plain.folder

    def test_documents_without_text_or_with_few_words_are_left_out_and_counted(self, tmp_path, root):
        texts = web_documents(50) + ["", " \n", "two words"] + web_documents(50, 1) + ["", "one"]
        write_jsonl(tmp_path / "a.jsonl", texts)
        data = data_of(tmp_path / "a.jsonl", split="first", minimum_words=3, valid_documents=10)
        dataset = prepare(data, root)
        counts = {name: dataset.facts["corpus"][name] for name in ("documents", "empty_documents", "short_documents")}
        assert counts == {"documents": 100, "empty_documents": 3, "short_documents": 2}

    def test_text_that_looks_like_an_end_of_text_is_text_in_every_tokenizer(self, tmp_path, root):
        texts = [f"before <|endoftext|> after {number} <|endoftext|>" for number in range(60)]
        write_texts(tmp_path / "a.parquet", texts)
        for tokenizer in ("bytes", "bpe", "characters"):
            dataset = prepare(
                data_of(tmp_path / "a.parquet", split="first", tokenizer=tokenizer, valid_documents=9), root
            )
            assert read_documents(dataset, "valid") + read_documents(dataset, "train") == texts
            end = dataset.tokenizer.end_of_text
            assert sum(int((dataset.tokens(split) == end).sum()) for split in dataset.splits) == len(texts)

    def test_a_document_of_many_pieces_is_one_document(self, tmp_path, root, monkeypatch):
        monkeypatch.setattr("lmlab.data.documents.PIECE_CHARACTERS", 100)
        texts = [*web_documents(20), " ".join(web_documents(30, 5)), *web_documents(20, 1)]
        write_texts(tmp_path / "a.parquet", texts, rows=7)
        dataset = prepare(data_of(tmp_path / "a.parquet", split="first", tokenizer="bpe", valid_documents=5), root)
        assert read_documents(dataset, "train") == texts[5:]

    def test_tokens_with_a_multiple_are_read(self):
        assert override(Recipe(), {"data.tokens": "3.3B"}).data.tokens == 3_300_000_000
        assert override(Recipe(), {"data.tokens": "500k"}).data.tokens == 500_000
        assert override(Recipe(), {"data.tokens": "none"}).data.tokens is None
        with pytest.raises(LabError, match="data.tokens can't be '3.3X': expected a whole number such as 500k or 3.3B"):
            override(Recipe(), {"data.tokens": "3.3X"})


class TestPublishedLayouts:
    """Row groups of 1,000 rows, and the columns of the corpora."""

    @pytest.mark.parametrize("edu", [False, True])
    def test_fineweb(self, tmp_path, root, edu):
        texts = web_documents(2500, words=6)
        path = write_fineweb(tmp_path / "sample" / "000_00000.parquet", texts, edu=edu)
        metadata = pyarrow.parquet.read_metadata(path)
        assert [metadata.row_group(group).num_rows for group in range(3)] == [1000, 1000, 500]
        names = "text id dump url date file_path language language_score token_count".split()
        if edu:
            names = "text id dump url file_path language language_score token_count score int_score".split()
        assert metadata.schema.names == names
        dataset = prepare(data_of(path, split="first", valid_documents=1000), root)
        assert read_documents(dataset, "valid") + read_documents(dataset, "train") == texts
        assert dataset.facts["shards"]["place"] == [0, 2, 500]

    def test_openwebtext(self, tmp_path, root):
        texts = web_documents(1200, words=6)
        write_texts(tmp_path / "plain_text" / "train-00000-of-00080.parquet", texts)
        write_texts(tmp_path / "plain_text" / "train-00001-of-00080.parquet", texts[::-1])
        dataset = prepare(data_of(tmp_path / "plain_text", 3_000, valid_documents=1000), root)
        assert read_documents(dataset, "valid") == texts[:1000]

    def test_alpaca(self, tmp_path, root):
        rows = [{"instruction": f"Say {n}", "input": "", "output": f"{n}", "text": f"Say {n}: {n}"} for n in range(50)]
        path = tmp_path / "train-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=1000)
        dataset = prepare(data_of(path, split="first", valid_documents=5), root)
        assert read_documents(dataset, "train") == [row["text"] for row in rows[5:]]
        answers = prepare(data_of(path, split="first", valid_documents=5, column="output"), root)
        assert read_documents(answers, "train") == [row["output"] for row in rows[5:]]


class TestOnlyWhatIsNeeded:
    def test_shards_behind_the_budget_are_not_even_opened(self, folder, root):
        (folder / "002_00000.parquet").write_bytes(b"damaged")
        dataset = prepare(data_of(folder, 20_000), root)
        assert [entry["name"] for entry in dataset.facts["shards"]["files"]] == ["000_00000.parquet"]
        with pytest.raises(LabError, match="002_00000.parquet is not readable as parquet"):
            prepare(data_of(folder, 150_000), root)

    def test_a_larger_budget_encodes_only_what_follows(self, folder, root, monkeypatch):
        smaller = prepare(data_of(folder, 20_000), root)
        encoded = watch_encoding(monkeypatch)
        listener = Listener()
        larger = prepare(data_of(folder, 60_000), root, listener)
        added = [
            larger.whole.facts["splits"]["train"][name] - smaller.whole.facts["splits"]["train"][name]
            for name in ("tokens", "documents")
        ]
        # Each document has an end of text. Some documents behind the budget were encoded with the last ones.
        assert added[0] - added[1] <= sum(encoded) < added[0] - added[1] + 1_000
        assert any(f"continuing from data set {smaller.whole.id}" in line for line in listener.lines)
        assert larger.facts["extends"][0]["id"] == smaller.whole.id
        larger.verify()
        assert shared_tokens(smaller.ancestry, larger.ancestry) == 20_000

    def test_a_smaller_budget_makes_nothing_but_a_view(self, folder, root):
        larger = prepare(data_of(folder, 60_000), root)
        listener = Listener()
        smaller = prepare(data_of(folder, 20_000), root, listener)
        assert (smaller.whole.id, listener.tasks) == (larger.whole.id, [])
        assert prepared(data_of(folder, 20_000), root).id == smaller.id
        assert prepared(data_of(folder, 70_000), root) is None

    def test_the_second_time_nothing_is_read(self, folder, root):
        first = prepare(data_of(folder, 20_000), root)
        listener = Listener()
        assert prepare(data_of(folder, 20_000), root, listener).id == first.id
        assert listener.tasks == []

    def test_files_that_arrive_later_continue_the_corpus(self, folder, root):
        all_of_it = prepare(data_of(folder, split="first"), root)
        assert all_of_it.facts["shards"]["complete"]
        write_fineweb(folder / "003_00000.parquet", web_documents(50, 9))
        larger = prepare(data_of(folder, split="first"), root)
        assert larger.facts["extends"][0]["id"] == all_of_it.id
        assert read_documents(larger, "train")[-50:] == web_documents(50, 9)

    def test_shards_that_changed_since_are_prepared_anew(self, folder, root):
        old = prepare(data_of(folder, 20_000), root)
        write_fineweb(folder / "000_00000.parquet", web_documents(300, 77), 50)
        new = prepare(data_of(folder, 30_000), root)
        assert "extends" not in new.facts
        assert new.tokens("valid").tobytes() != old.tokens("valid").tobytes()

    def test_another_folder_with_the_same_shards_is_the_same_data_set(self, folder, root, tmp_path):
        first = prepare(data_of(folder, 20_000), root)
        shutil.copytree(folder, tmp_path / "moved")
        assert prepare(data_of(tmp_path / "moved", 20_000), root).id == first.id
        assert len(list_datasets(root)) == 2  # the view and what it is a view of


class TestForecast:
    def test_time_and_space_are_said_before_the_rest_is_prepared(self, folder, root, monkeypatch):
        monkeypatch.setattr("lmlab.data.shards.making.MEASURED_TOKENS", 20_000)
        monkeypatch.setattr("lmlab.data.shards.making.SAID_SECONDS", 0.0)
        monkeypatch.setattr(module, "BATCH_CHARACTERS", 2_000)
        listener = Listener()
        prepare(data_of(folder, 100_000), root, listener)
        (line,) = listener.lines
        rate, disk = r"at [0-9.]+[kM] tokens/s", r"0\.[0-9] MB of the [0-9,.]+ GB free on the disk"
        assert re.fullmatch(rf"preparing 9\d(\.\d)?k more tokens takes about \d+ s {rate}, {disk}", line)
        assert listener.tasks[0] == ("encoding shards", 100_000) and listener.done[0] >= 100_000

    def test_a_rest_that_the_disk_cannot_hold_ends_with_what_was_prepared_kept(self, folder, root, monkeypatch):
        monkeypatch.setattr("lmlab.data.shards.making.MEASURED_TOKENS", 20_000)
        monkeypatch.setattr("lmlab.data.shards.making.require_disk", lambda *arguments: None)
        monkeypatch.setattr(module, "SHARD_CHARACTERS", 5_000)
        monkeypatch.setattr(module, "BATCH_CHARACTERS", 2_000)
        usage = shutil.disk_usage(folder)._replace(free=100_000)
        with monkeypatch.context() as patch:
            patch.setattr("shutil.disk_usage", lambda path: usage)
            with pytest.raises(StorageError, match="preparing [0-9.]+k more tokens of shards needs 0.[0-9] MB"):
                prepare(data_of(folder, 100_000), root)
        encoded = watch_encoding(monkeypatch)
        assert len(prepare(data_of(folder, 100_000), root).tokens("train")) == 100_000
        assert sum(encoded) < 100_000


class TestErrors:
    def test_more_tokens_than_there_are(self, folder, root):
        with pytest.raises(
            LabError, match="data.tokens 100,000,000 is more than the [0-9,]+ tokens of the training split"
        ):
            prepare(data_of(folder, 100_000_000), root)

    def test_fewer_documents_than_validation_wants(self, folder, root):
        with pytest.raises(LabError, match="the training split of .* would be empty: its 900 documents are at most"):
            prepare(data_of(folder, 1000, valid_documents=900), root)

    @pytest.mark.parametrize("tokens", [None, 5_000])
    def test_a_number_of_documents_that_no_split_would_use(self, tmp_path, root, tokens):
        write_texts(tmp_path / "a.parquet", web_documents(300))
        with pytest.raises(
            LabError, match="data.valid_documents 70 is for data.split first, but .* is split by hash: add"
        ):
            prepare(data_of(tmp_path / "a.parquet", tokens), root)
        for part in ("train", "valid"):
            write_texts(tmp_path / "parts" / f"{part}.parquet", web_documents(60))
        with pytest.raises(LabError, match="data.valid_documents 70 is .* has a published split"):
            prepare(data_of(tmp_path / "parts", tokens), root)

    def test_no_text(self, tmp_path, root):
        write_texts(tmp_path / "a.parquet", ["", " "])
        with pytest.raises(LabError, match="contains no text"):
            prepare(data_of(tmp_path / "a.parquet", split="first"), root)

    def test_a_column_that_is_not_there(self, folder, root):
        with pytest.raises(LabError, match="000_00000.parquet has no column 'body' but 'text', 'id'"):
            prepare(data_of(folder, 1000, column="body"), root)

    def test_a_symbol_that_the_first_documents_lack(self, tmp_path, root, monkeypatch):
        monkeypatch.setattr("lmlab.data.shards.tokenizing.TOKENIZER_CHARACTERS", 1000)
        write_texts(tmp_path / "a.parquet", [*web_documents(100), "Ω"])
        with pytest.raises(LabError, match="symbol 'Ω'"):
            prepare(data_of(tmp_path / "a.parquet", split="first", tokenizer="characters"), root)

    def test_disk_without_space(self, folder, root, monkeypatch):
        usage = shutil.disk_usage(folder)._replace(free=1_000_000)
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
        with pytest.raises(StorageError, match="preparing 3.3B tokens of shards needs 7,[0-9]{3}.[0-9] MB"):
            prepare(data_of(folder, 3_300_000_000), root)
        assert prepare(data_of(folder, 10_000), root).tokens("train").shape == (10_000,)


def watch_encoding(monkeypatch):
    """Record the bytes of every text that is encoded from now on."""
    from lmlab.data.tokenizers.bytes import Bytes

    encoded = []
    real = Bytes.encode_batch
    monkeypatch.setattr(
        Bytes,
        "encode_batch",
        lambda self, texts: encoded.extend(len(text.encode()) for text in texts) or real(self, texts),
    )
    return encoded


class TestInterruption:
    def test_a_kill_at_any_save_is_continued_to_the_same_data_set(self, folder, tmp_path, root, monkeypatch):
        monkeypatch.setattr(module, "SHARD_CHARACTERS", 3_000)
        monkeypatch.setattr(module, "BATCH_CHARACTERS", 1_000)
        expected = prepare(data_of(folder, 60_000), tmp_path / "undisturbed")
        real, saves = module.write_journal, []

        def write(*arguments):
            real(*arguments)
            saves.append(1)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "write_journal", write)
            encoded = watch_encoding(patch)
            for _ in range(200):
                try:
                    found = prepare(data_of(folder, 60_000), root)
                    break
                except KeyboardInterrupt:
                    assert list_datasets(root) == []
                    patch.setattr(module, "write_journal", write if len(saves) < 15 else real)
        assert len(saves) == 15
        # What was journaled isn't encoded again: at each interruption at most one shard's and one batch's text.
        whole = sum(len(found.whole.tokens(split)) for split in found.splits)
        assert sum(encoded) < whole + 16 * 5_000
        assert found.id == expected.id
        for split in found.splits:
            assert found.tokens(split).tobytes() == expected.tokens(split).tobytes()
        found.verify()

    def test_a_smaller_budget_after_a_kill_uses_what_is_there(self, folder, tmp_path, root, monkeypatch):
        monkeypatch.setattr(module, "SHARD_CHARACTERS", 3_000)
        monkeypatch.setattr(module, "BATCH_CHARACTERS", 1_000)
        real, saves = module.write_journal, []

        def write(*arguments):
            real(*arguments)
            saves.append(1)
            if len(saves) == 15:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "write_journal", write)
            with pytest.raises(KeyboardInterrupt):
                prepare(data_of(folder, 60_000), root)
        small = prepare(data_of(folder, 2_000), root)
        assert small.id == prepare(data_of(folder, 2_000), tmp_path / "other").id
        assert len(small.whole.tokens("train")) > 4_000

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
    def test_kill_without_warning_loses_nothing_that_was_journaled(self, folder, tmp_path, root):
        expected = prepare(data_of(folder, 60_000), tmp_path / "undisturbed")
        killed = 0
        for door in range(3, 80, 11):
            child = os.fork()
            if child == 0:
                kill_at(door)
                prepare(data_of(folder, 60_000), root)
                os._exit(0)
            killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert killed >= 3
        found = prepare(data_of(folder, 60_000), root)
        assert found.id == expected.id
        found.verify()

    def test_what_a_kill_left_whole_is_continued_by_a_larger_budget(self, folder, root, monkeypatch):
        """Killed when all was written, but for the renaming."""

        def publish(*arguments):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("lmlab.data.shards.making.publish", publish)
            with pytest.raises(KeyboardInterrupt):
                prepare(data_of(folder, 10_000), root)
        larger = prepare(data_of(folder, 30_000), root)
        assert len(larger.tokens("train")) == 30_000
        assert larger.facts["extends"][0]["id"] == prepare(data_of(folder, 10_000), root).whole.id

    def test_files_that_changed_since_the_kill_are_read_anew(self, folder, root, monkeypatch):
        monkeypatch.setattr(module, "SHARD_CHARACTERS", 3_000)
        real = module.write_journal

        def write(*arguments):
            real(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "write_journal", write)
            with pytest.raises(KeyboardInterrupt):
                prepare(data_of(folder, 60_000), root)
        time.sleep(0.01)
        write_fineweb(folder / "000_00000.parquet", web_documents(300, 77), 50)
        assert read_documents(prepare(data_of(folder, 10_000), root), "valid") == web_documents(300, 77)[:70]


def kill_at(door):
    """Kill this process at its n-th flush or rename."""
    module.SHARD_CHARACTERS = module.BATCH_CHARACTERS = 3_000
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


def test_a_given_tokenizer_reads_shards_too(folder, root):
    given = build_tokenizer(Data(tokenizer="bpe", vocabulary=260), ["another text"], documents_end=True)
    dataset = prepare(data_of(folder, 5_000), root, tokenizer=given)
    assert dataset.tokenizer.to_json() == given.to_json()
    assert open_dataset(dataset.id, root).id == dataset.id


def test_articles_of_rows_are_those_of_the_text(tmp_path, root):
    from lmlab.data.shards.documents import articles
    from lmlab.data.shards.rows import Place, Rows
    from tests.data.support import documents_in

    lines = []
    for number in range(30):
        lines += ["", f" = Title {number} = \n", "", f" First paragraph {number} . \n", "", " = = Section = = \n", ""]
        lines += [f" = not a title, line {number} = \n", " More text . \n"]
    (tmp_path / "a.txt").write_text("".join(line if line.endswith("\n") else f"{line}\n" for line in lines))
    expected = documents_in(tmp_path / "a.txt", default="articles")
    for size in (1, 2, 7, 50):
        rows = [Rows(Place(0, begin // size, 0), lines[begin : begin + size]) for begin in range(0, len(lines), size)]
        found = [document for document in articles(rows, [""]) if document.text.strip()]
        assert [document.text for document in found] == expected
        # from the place after any document on, the rest follows
        for number in (0, 3, 20):
            place = found[number].after
            left = [
                Rows(row.place._replace(row=max(0, place.row - row.place.row) if row.place[:2] == place[:2] else 0),
                     row.texts[place.row - row.place.row if row.place[:2] == place[:2] else 0 :])
                for row in rows
                if row.place[:2] >= place[:2]
            ]  # fmt: skip
            assert [document.text for document in articles(left, [""])] == expected[number + 1 :]


def test_numpy_rows_hash_as_the_scan_does(tmp_path):
    import hashlib

    from lmlab.data.scan import DOCUMENT
    from lmlab.data.shards.encoding import text_sha256

    rows = np.zeros(3, DOCUMENT)
    rows["key"] = np.array([bytes([number]) * 32 for number in range(3)], "V32")
    rows["part"] = [0, 1, 2]
    expected = hashlib.sha256(b"".join(bytes([number]) * 32 + bytes([number]) for number in range(3))).hexdigest()
    assert text_sha256([rows[:1], rows[1:]]) == expected


class MadeUp:
    """Shards without files: as many rows as anybody wants."""

    files = (None,)

    def rows_from(self, place, rows_wanted):
        for number in range(place.row, 10**9, 100):
            yield Rows(Place(0, 0, number), [f"Page {place}: " + "the river ran on " * 100] * 100)

    def mark_of(self, number):
        return ShardMark("made up", 0, "")


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_ten_times_the_tokens_take_no_more_memory(tmp_path, tokenizer, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(module, "BATCH_CHARACTERS", 20_000)
    found = build_tokenizer(Data(tokenizer=tokenizer, vocabulary=270), ["the river ran on"], documents_end=True)
    settings = module.ShardSettings(rule="records", parts=("",), valid_documents=10, minimum_words=0, newlines="keep")

    def peak(tokens):
        work = tmp_path / f"{tokens}"
        work.mkdir()
        tracemalloc.start()
        marks = Marks(begin=None, end=found.end_of_text)
        run = module.Encoding(work, MadeUp(), settings, found, marks, ShardsJournal(), tokens, Silent())
        run.run()
        assert run.journal.tokens[0] >= tokens
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    peak(100_000)
    assert peak(3_000_000) < 1.1 * peak(300_000) + 1_000_000
