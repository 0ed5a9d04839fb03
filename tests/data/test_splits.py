"""Which documents go to validation: published, by hash, by tail, and what `auto` chooses."""

import json
import lzma
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data import scan as scan_module
from lmlab.data.progress import Silent
from lmlab.data.scan import DOCUMENT, scan
from lmlab.data.sources import resolve
from lmlab.data.split import FEWEST_FOR_HASH, hash_positions, plan_split
from lmlab.recipe import Data
from tests.data.support import write_stories


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def plan_of(root, **settings):
    data = Data(**settings)
    source = resolve(data, root)
    scanned = scan(source, data.column, root, Silent())
    return plan_split(data, source, scanned), scanned


class TestHash:
    def test_adding_documents_moves_none(self, tmp_path, root):
        path = tmp_path / "a.txt"
        write_stories(path, 300)
        first, before = plan_of(root, corpus=str(path), split="hash", valid_share=0.2)
        old = path.read_text()
        write_stories(path, 200, first=1000)
        path.write_text(path.read_text() + "<|endoftext|>\n" + old)  # new ones in front
        second, after = plan_of(root, corpus=str(path), split="hash", valid_share=0.2)
        sides = {key.tobytes(): side for key, side in zip(after.rows["key"], second.of, strict=True)}
        assert len(sides) == 500
        assert [sides[key.tobytes()] for key in before.rows["key"]] == first.of.tolist()

    def test_a_larger_share_only_adds_documents_to_validation(self, tmp_path, root):
        path = tmp_path / "a.txt"
        write_stories(path, 200)
        small, _ = plan_of(root, corpus=str(path), split="hash", valid_share=0.1)
        large, _ = plan_of(root, corpus=str(path), split="hash", valid_share=0.3)
        assert set(np.flatnonzero(small.of)) < set(np.flatnonzero(large.of))

    def test_the_share_is_kept_on_the_whole(self):
        keys = np.frombuffer(np.random.default_rng(0).bytes(32 * 20_000), dtype="V32")
        share = float((hash_positions(keys) < 0.1).mean())
        assert abs(share - 0.1) < 0.01  # 4.7 standard deviations of a binomial

    def test_equal_documents_are_on_the_same_side(self, tmp_path, root):
        path = tmp_path / "a.jsonl"
        path.write_text("\n".join(json.dumps({"text": f"twin {number % 100}"}) for number in range(200)))
        plan, _ = plan_of(root, corpus=str(path), split="hash", valid_share=0.3)
        assert plan.of[:100].tolist() == plan.of[100:].tolist()

    def test_nothing_for_validation_is_refused(self, tmp_path, root):
        path = tmp_path / "a.txt"
        path.write_text("one document only")
        with pytest.raises(LabError, match="split of .* would be empty .*choose another data.valid_share"):
            plan_of(root, corpus=str(path), split="hash", valid_share=0.0001)


class TestTail:
    @given(st.integers(1, 5000), st.sampled_from([0.1, 0.05, 0.5, 0.001, 0.25]))
    def test_one_document_is_cut_where_nanogpt_cuts_it(self, characters, share):
        rows = np.array([(b"k" * 32, characters, characters, 0)], dtype=DOCUMENT)
        data = Data(split="tail", valid_share=share)
        kept = int((1 - share) * characters)
        if not 0 < kept < characters:
            with pytest.raises(LabError, match="would be empty"):
                plan_split(data, FakeSource(), FakeScan(rows))
            return
        plan = plan_split(data, FakeSource(), FakeScan(rows))
        assert (plan.cut_document, plan.cut_characters, plan.of.tolist()) == (0, kept, [0])

    def test_shakespeare_has_the_published_1_003_854_and_111_540_characters(self):
        rows = np.array([(b"k" * 32, 1_115_394, 1_115_394, 0)], dtype=DOCUMENT)
        plan = plan_split(Data(split="auto"), FakeSource(published="tail", published_share=0.1), FakeScan(rows))
        assert (plan.cut_characters, 1_115_394 - plan.cut_characters) == (1_003_854, 111_540)

    @pytest.mark.parametrize(
        ("lengths", "validates", "cut"),
        [
            ([50, 40, 10], [0, 0, 1], -1),  # the border is between documents
            ([50, 35, 10, 5], [0, 0, 0, 1], -1),  # the document across the border trains
            ([50, 50], [0, 0], 40),  # there is no other to validate, so it's cut: 90 characters train
            ([5, 95], [0, 0], 85),
        ],
    )
    def test_documents_past_the_share_validate(self, lengths, validates, cut):
        rows = np.array([(bytes([i]) * 32, length, length, 0) for i, length in enumerate(lengths)], dtype=DOCUMENT)
        plan = plan_split(Data(split="tail", valid_share=0.1), FakeSource(), FakeScan(rows))
        assert (plan.of.tolist(), plan.cut_characters or -1) == (validates, cut)


class FakeSource:
    title = "corpus"

    def __init__(self, published="", published_share=0.0):
        self.published, self.published_share = published, published_share


class FakeScan:
    def __init__(self, rows):
        self.rows, self.documents, self.characters = rows, len(rows), int(rows["characters"].sum())


class TestAuto:
    def test_takes_the_published_split_first(self, tmp_path, root):
        for part in ("train", "valid", "test"):
            write_stories(tmp_path / f"{part}.txt", 60, first=100 * len(part))
        plan, scanned = plan_of(root, corpus=str(tmp_path))
        assert plan.rule == "parts"
        assert [int((plan.of == index).sum()) for index in range(3)] == [60, 60, 60]

    @pytest.mark.parametrize(("documents", "rule"), [(FEWEST_FOR_HASH, "hash"), (FEWEST_FOR_HASH - 1, "tail")])
    def test_then_hash_for_enough_documents_else_tail(self, tmp_path, root, documents, rule):
        path = tmp_path / "a.txt"
        write_stories(path, documents)
        assert plan_of(root, corpus=str(path), valid_share=0.2)[0].rule == rule

    def test_falls_back_to_tail_where_no_document_hashes_into_validation(self, tmp_path, root):
        path = tmp_path / "a.txt"
        write_stories(path, 60)
        plan, _ = plan_of(root, corpus=str(path), valid_share=0.0001)
        assert (plan.rule, plan.cut_document) == ("tail", 59)


def test_published_where_there_is_none_is_refused(tmp_path, root):
    path = tmp_path / "a.txt"
    path.write_text("text")
    with pytest.raises(LabError, match="has no published split: expected files named train and valid"):
        plan_of(root, corpus=str(path), split="published")


def scan_of(path, root):
    data = Data(corpus=str(path))
    return scan(resolve(data, root), data.column, root, Silent())


class TestScan:
    def test_counts_and_alphabet_are_those_of_the_text(self, tmp_path, root):
        path = tmp_path / "a.txt"
        texts = write_stories(path, 70)
        texts[-1] += "\n"  # a line break at the end of the file stands next to no marker
        found = scan_of(path, root)
        assert found.alphabet == "".join(sorted(set("".join(texts))))
        assert (found.documents, found.characters) == (70, sum(map(len, texts)))
        assert found.bytes == sum(len(text.encode()) for text in texts)
        assert found.rows["bytes"].tolist() == [len(text.encode()) for text in texts]

    @pytest.mark.parametrize("content", ["", " \n\n", "<|endoftext|>\n\n<|endoftext|>\n"])
    def test_corpus_without_text_is_refused(self, tmp_path, root, content):
        path = tmp_path / "a.txt"
        path.write_text(content)
        with pytest.raises(LabError, match="contains no text: expected at least one document"):
            scan_of(path, root)

    def test_the_same_text_has_the_same_hash_however_it_is_packed(self, tmp_path, root):
        texts = write_stories(tmp_path / "a.txt", 20)
        (tmp_path / "a.txt.xz").write_bytes(lzma.compress((tmp_path / "a.txt").read_bytes()))
        texts[-1] += "\n"
        (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        hashes = {scan_of(tmp_path / name, root).text_sha256 for name in ("a.txt", "a.txt.xz", "a.jsonl")}
        assert len(hashes) == 1


class TestLeftovers:
    def test_what_a_killed_reader_left_goes_and_what_another_machine_made_meanwhile_is_taken(
        self, tmp_path, root, monkeypatch
    ):
        path = tmp_path / "a.txt"
        write_stories(path, 20)
        _, first = plan_of(root, corpus=str(path))
        [made] = (root / "scans").iterdir()
        made.rename(tmp_path / "theirs")
        left = root / "scans" / f".scanned-{'0' * 32}"
        left.mkdir()
        os.utime(left, (1e9, 1e9))
        rows_of = scan_module._write_rows

        def beside(*arguments):
            facts = rows_of(*arguments)
            (tmp_path / "theirs").rename(made)
            return facts

        monkeypatch.setattr(scan_module, "_write_rows", beside)
        _, again = plan_of(root, corpus=str(path))
        assert again.text_sha256 == first.text_sha256
        assert list((root / "scans").iterdir()) == [made]
