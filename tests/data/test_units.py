"""Units and duplicates: the unit of each token, and the text that validation shares with training."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data import units as module
from lmlab.data.duplicates import LINE_BYTES, shared_documents, shared_lines, text_of
from lmlab.data.preparation import prepare
from lmlab.data.tokenizers import build_tokenizer
from lmlab.data.units import BLOCK_BYTES, FEWEST_DOCUMENTS, block_units, wants_blocks
from lmlab.recipe import Data
from tests.data.support import write_stories

BPE = build_tokenizer(
    Data(tokenizer="bpe", vocabulary=400), ["the cat sat on the mat, día 42\n" * 50], documents_end=True
)
CHARACTERS = build_tokenizer(Data(tokenizer="characters"), ["the cat son m,dí42\n€"], documents_end=True)
LOSSY = build_tokenizer(Data(tokenizer="words", vocabulary=10), ["a b"], documents_end=True)


def obvious_blocks(texts, tokenizer):
    """(key, bytes, start) of every block, a token at a time."""
    found, place = [], 0
    for text in texts:
        content = text.encode()
        ids = tokenizer.encode(text).tolist()
        sizes = tokenizer.token_bytes()[ids].tolist()
        for begin in range(0, len(content), BLOCK_BYTES):
            block = content[begin : begin + BLOCK_BYTES]
            offset, start = 0, len(ids)
            for index, size in enumerate(sizes):
                if offset >= begin:
                    start = index
                    break
                offset += size
            found.append((hashlib.sha256(block).digest(), len(block), place + start))
        place += len(ids) + 1  # the end of text
    return found


@pytest.mark.parametrize("tokenizer", [BPE, CHARACTERS], ids=lambda one: one.name)
@pytest.mark.parametrize("tokens_a_time", [1, 100, 1 << 20])
def test_blocks_are_those_of_the_text_and_a_token_belongs_to_the_block_of_its_first_byte(
    tokenizer, tokens_a_time, monkeypatch
):
    monkeypatch.setattr(module, "TOKENS_A_TIME", tokens_a_time)
    texts = ["the día €" * 300, "m" * BLOCK_BYTES, "a", "cat " * 512, "on the mat\n" * 700]
    texts = [text.replace("€", "") if tokenizer is BPE else text for text in texts]
    streams = [np.append(tokenizer.encode(text), tokenizer.end_of_text) for text in texts]
    starts = np.cumsum([0] + [len(stream) for stream in streams])
    found = np.concatenate(list(block_units(np.concatenate(streams).astype(np.uint16), starts, tokenizer)))
    expected = obvious_blocks(texts, tokenizer)
    assert [(unit["key"].tobytes(), int(unit["bytes"]), int(unit["start"])) for unit in found] == expected


@given(st.lists(st.text(alphabet="the cat\ndí42€", min_size=1, max_size=3000), min_size=1, max_size=3))
def test_blocks_cover_every_byte_once(texts):
    streams = [np.append(CHARACTERS.encode(text), CHARACTERS.end_of_text) for text in texts]
    starts = np.cumsum([0] + [len(stream) for stream in streams])
    units = np.concatenate(list(block_units(np.concatenate(streams), starts, CHARACTERS)))
    assert units["bytes"].sum() == sum(len(text.encode()) for text in texts)
    assert units["start"][0] == 0 and (np.diff(units["start"]) > 0).all()


def test_documents_from_so_many_on_and_always_where_text_is_lost():
    assert wants_blocks(FEWEST_DOCUMENTS - 1, BPE)
    assert not wants_blocks(FEWEST_DOCUMENTS, BPE)
    assert not wants_blocks(1, LOSSY)


class TestOfADataSet:
    def test_document_units_have_the_documents_hashes_bytes_and_starts(self, tmp_path):
        path = tmp_path / "a.txt"
        write_stories(path, 700)
        dataset = prepare(Data(corpus=str(path), tokenizer="bpe", vocabulary=300, valid_share=0.5), tmp_path / "cache")
        for split in dataset.splits:
            units, starts = dataset.units(split), dataset.document_starts(split)
            assert dataset.facts["splits"][split]["unit"] == "document"
            assert (units["start"] == starts[:-1]).all()
            assert (units["bytes"] == dataset.document_bytes(split)).all()
            for index in (0, len(units) - 1):
                text = dataset.tokenizer.decode_bytes(dataset.tokens(split)[starts[index] : starts[index + 1]])
                assert units["key"][index].tobytes() == hashlib.sha256(text).digest()
                assert units["bytes"][index] == len(text)

    def test_same_text_has_the_same_keys_whatever_the_tokenizer(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("".join(f"Zeile {number}: Bär – fällt\n" for number in range(900)))
        keys = set()
        for tokenizer in ("characters", "bytes", "bpe"):
            dataset = prepare(Data(corpus=str(path), tokenizer=tokenizer, vocabulary=400), tmp_path / "cache")
            assert dataset.facts["splits"]["valid"]["unit"] == "block"
            keys.add(dataset.units("valid")["key"].tobytes() + dataset.units("valid")["bytes"].tobytes())
        assert len(keys) == 1

    def test_lossy_tokenizer_keeps_documents_and_the_cut_halves_have_their_own_hashes(self, tmp_path):
        path = tmp_path / "a.txt"
        text = "so many wörds in one line\n" * 100
        path.write_text(text)
        data = Data(corpus=str(path), tokenizer="words", vocabulary=None, unknown="replace", valid_share=0.25)
        dataset = prepare(data, tmp_path / "cache")
        kept = int(0.75 * len(text))
        for split, half in (("train", text[:kept]), ("valid", text[kept:])):
            (unit,) = dataset.units(split)
            assert unit["key"].tobytes() == hashlib.sha256(half.encode()).digest()
            assert (unit["bytes"], unit["start"]) == (len(half.encode()), 0)
        assert (dataset.lossless, dataset.token_bytes()) == (False, None)


def keys_of(*texts):
    return np.array([hashlib.sha256(text.encode()).digest() for text in texts], dtype="V32")


class TestDuplicates:
    def test_documents_are_compared_by_their_whole_hash(self):
        close = np.array([b"x" * 8 + b"a" * 24, b"x" * 8 + b"b" * 24, b"y" * 32], dtype="V32")
        train = [close[:1], keys_of("a", "b")]
        assert shared_documents(iter(train), close).tolist() == [True, False, False]
        assert shared_documents(iter(train), keys_of("c", "b")).tolist() == [False, True]
        assert shared_documents(iter([]), keys_of("c")).tolist() == [False]

    def test_only_long_lines_count_and_each_validation_line_once(self):
        long, other = b"x" * LINE_BYTES, b"y" * (LINE_BYTES + 5)
        train = [long + b"\nshort\n" + other[:10], other[10:] + b"\n" + long]
        valid = [b"short\n" + long + b"\n" + long + b"\n" + b"z" * 50 + b"\n" + other]
        assert shared_lines(iter(train), iter(valid)) == (3, 4)

    def test_a_document_ends_the_line_it_ends_with(self):
        tokens = np.array([*BPE.encode("the cat"), BPE.end_of_text, *BPE.encode("sat"), BPE.end_of_text])
        assert b"".join(text_of(tokens, BPE)) == b"the cat\nsat\n"

    def test_found_when_prepared_and_stored_with_the_share_of_tokens(self, tmp_path):
        folder = tmp_path / "parts"
        folder.mkdir()
        shared = "this very sentence stands in both of the files"
        valid = [shared, "something that only validates, and is long enough to count"]
        for part, texts in (
            ("train", [shared, "training only, and nothing of this validates at all"]),
            ("valid", valid),
        ):
            (folder / f"{part}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        found = prepare(Data(corpus=str(folder), tokenizer="bytes"), tmp_path / "cache").facts["duplicates"]
        tokens = [len(text) + 1 for text in valid]
        assert (found["documents"], found["of_documents"]) == (1, 2)
        assert (found["tokens"], found["of_tokens"]) == (tokens[0], sum(tokens))
        assert found["share_of_tokens"] == tokens[0] / sum(tokens)
        assert (found["lines"], found["of_lines"]) == (1, 2)

    def test_a_split_by_hash_shares_no_document(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text("\n".join(json.dumps({"text": f"text number {number % 80}"}) for number in range(400)))
        dataset = prepare(Data(corpus=str(path), tokenizer="bytes", valid_share=0.3), tmp_path / "cache")
        assert dataset.facts["duplicates"]["documents"] == 0
        assert dataset.facts["split"]["rule"] == "hash"
