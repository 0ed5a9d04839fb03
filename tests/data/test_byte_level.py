"""Byte-level BPE against a slow and obvious version, the tokenizers library, and published references."""

import json
import lzma
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data.tokenizers import build_tokenizer, byte_level
from lmlab.data.tokenizers.bpe import BPE, learn_bpe
from lmlab.data.tokenizers.byte_level import ALPHABET, pieces, read_merges, write_merges
from lmlab.data.tokenizers.gpt2 import FILE, SHA256, load_gpt2
from lmlab.recipe import Data
from tests.shared import shared_data

GPT2_PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
"""As in OpenAI's encoder.py."""

TEXTS = st.text(st.sampled_from([*"abct  \n'sé日1!", "\u3000", "\x85", "\x1c"]), max_size=40)


@pytest.fixture(scope="module")
def learnt(tiny_text):
    return learn_bpe([tiny_text], 350)


@pytest.fixture(scope="module")
def gpt2():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMLAB_GPT2", str(shared_data("gpt2-bpe")))
        return load_gpt2()


def slow_encode(text, merges, first_id):
    """Each word's bytes, merged pair by pair in the order of the merges."""
    numbers = {bytes([byte]): place for place, byte in enumerate(ALPHABET, first_id)}
    numbers.update({left + right: place for place, (left, right) in enumerate(merges, first_id + 256)})
    ids = []
    for word in GPT2_PATTERN.findall(text):
        parts = [bytes([byte]) for byte in word.encode()]
        for left, right in merges:
            place = 0
            while place < len(parts) - 1:
                if parts[place] == left and parts[place + 1] == right:
                    parts[place : place + 2] = [left + right]
                place += 1
        ids += [numbers[part] for part in parts]
    return ids


class Counted:
    """The distinct words of a text as one row of token numbers, with how often each pair of neighbours appears."""

    def __init__(self, text):
        words = Counter(GPT2_PATTERN.findall(text))
        self.numbers = {bytes([byte]): byte for byte in range(256)}
        row, weights = [], []
        for word, count in words.items():
            row += [*word.encode(), -1]
            weights += [count] * (len(word.encode()) + 1)
        self.row, self.weights = np.array(row), np.array(weights)

    def pair_counts(self):
        inside = (self.row[:-1] >= 0) & (self.row[1:] >= 0)
        keys = self.row[:-1][inside] * 4096 + self.row[1:][inside]
        return np.bincount(keys, weights=self.weights[:-1][inside], minlength=1)

    def merge(self, left, right):
        pair = self.numbers[left] * 4096 + self.numbers[right]
        self.numbers[left + right] = len(self.numbers)
        drop, last = [], -2
        for place in np.flatnonzero(self.row[:-1] * 4096 + self.row[1:] == pair):
            if place == last + 1 and drop and drop[-1] == place:
                continue
            self.row[place] = self.numbers[left + right]
            drop.append(place + 1)
            last = place
        self.row, self.weights = np.delete(self.row, drop), np.delete(self.weights, drop)


def counts_of(text, merges):
    """How often each merge's pair appeared when its turn came, and how often the most frequent pair did."""
    counted = Counted(text)
    own, most = [], []
    for left, right in merges:
        counts = counted.pair_counts()
        own.append(int(counts[counted.numbers[left] * 4096 + counted.numbers[right]]))
        most.append(int(counts.max()))
        counted.merge(left, right)
    return own, most


def test_each_learnt_merge_is_of_a_most_frequent_pair(tiny_text, learnt):
    own, most = counts_of(tiny_text, learnt.merges)
    assert len(own) == 350 - 257
    assert own == most


def slow_learn(text, count, preferred):
    """The merges of `count` times the most frequent pair; of equally frequent ones the pair with the largest `preferred(pair)`.

    A word with a merged pair is counted again as a whole, so that only those words are gone through.
    """
    words = [
        ([bytes([byte]) for byte in word.encode()], number)
        for word, number in Counter(GPT2_PATTERN.findall(text)).items()
    ]
    counts, places = Counter(), defaultdict(set)
    for place, (parts, number) in enumerate(words):
        for pair in pairwise(parts):
            counts[pair] += number
            places[pair].add(place)
    merges = []
    for _ in range(count):
        best = max(counts, key=lambda pair: (counts[pair], preferred(pair)))
        merges.append(best)
        for place in places.pop(best):
            parts, number = words[place]
            for pair in pairwise(parts):
                counts[pair] -= number
            merged, left = [], iter(range(len(parts)))
            for index in left:
                if tuple(parts[index : index + 2]) == best:
                    merged.append(b"".join(best))
                    next(left)
                else:
                    merged.append(parts[index])
            words[place] = (merged, number)
            for pair in pairwise(merged):
                counts[pair] += number
                places[pair].add(place)
        counts = +counts
    return merges


@pytest.fixture(scope="module")
def published():
    """The corpus and the merges of a published reference."""
    folder = shared_data("bpe-training-fixture")
    lines = (folder / "train-bpe-reference-merges.txt").read_text(encoding="utf-8").splitlines()
    return (folder / "corpus.en").read_text(encoding="utf-8"), read_merges(lines)


def test_the_slow_trainer_learns_the_published_merges(published):
    """Of pairs as frequent as each other the reference takes the one that is lexicographically larger."""
    text, reference = published
    assert len(reference) == 243
    assert slow_learn(text, 243, lambda pair: pair) == reference


def test_learning_is_the_slow_trainers_but_for_ties(published):
    """Of pairs as frequent as each other ours takes the one with the lower ids."""
    text, reference = published
    merges = learn_bpe([text], 500).merges
    numbers = {bytes([byte]): place for place, byte in enumerate(ALPHABET)}
    numbers.update({left + right: place for place, (left, right) in enumerate(merges, 256)})
    later = len(numbers)  # a token that the other trainer makes and this one doesn't
    assert slow_learn(text, 243, lambda pair: [-numbers.get(part, later) for part in pair]) == merges
    assert merges[:31] == reference[:31]
    assert len(set(merges) & set(reference)) == 239


def test_the_references_vocabulary_is_numbered_as_ours():
    folder = shared_data("bpe-training-fixture")
    vocabulary = json.loads((folder / "train-bpe-reference-vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "train-bpe-reference-merges.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = BPE(read_merges(lines))
    assert tokenizer.end_of_text == vocabulary.pop("<|endoftext|>") == 0
    assert set(vocabulary) == {"".join(line.split()) for line in lines} | set(byte_level.SYMBOL_BYTES)
    base = [symbol for symbol, number in sorted(vocabulary.items(), key=lambda entry: entry[1]) if number <= 256]
    assert [tokenizer.tokens[number] for number in range(1, 257)] == [
        bytes([byte_level.SYMBOL_BYTES[symbol]]) for symbol in base
    ]


@given(text=TEXTS)
def test_encoding_is_merging_in_the_order_of_the_merges(learnt, text):
    assert learnt.encode(text).tolist() == slow_encode(text, learnt.merges, 1)


def test_encoding_gives_the_ids_of_the_tokenizers_library(learnt, tiny_text):
    from tokenizers import Tokenizer, models, pre_tokenizers

    shown = ["<|endoftext|>", *("".join(byte_level.SYMBOLS[byte] for byte in token) for token in learnt.tokens[1:])]
    merges = [tuple(line.split(" ")) for line in write_merges(learnt.merges)]
    other = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(shown)}, merges=merges))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    for text in [tiny_text, tiny_text.upper(), tiny_text[::-1], "the  the\n\n\n rain’s <|endoftext|> 1234 \t"]:
        assert learnt.encode(text).tolist() == other.encode(text).ids


def test_the_same_texts_teach_the_same_merges_in_another_process(tiny_text, learnt):
    script = (
        "import json, sys\nfrom lmlab.data.tokenizers.bpe import learn_bpe\n"
        "print(json.dumps(learn_bpe(sys.stdin.read().splitlines(keepends=True), 400).to_json()['merges']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=tiny_text, capture_output=True, encoding="utf-8", check=True
    )
    assert json.loads(done.stdout) == learn_bpe(tiny_text.splitlines(keepends=True), 400).to_json()["merges"]


def test_a_text_that_teaches_less_gives_a_smaller_vocabulary():
    tokenizer = learn_bpe(["ab ab"], 1000)
    assert tokenizer.vocabulary_size < 262
    assert tokenizer.decode(tokenizer.encode("ab é")) == "ab é"


def test_the_end_of_text_is_no_word_to_learn_from():
    tokenizer = learn_bpe(["<|endoftext|>" * 50], 280)
    assert tokenizer.end_of_text not in tokenizer.encode("<|endoftext|>")
    assert b"<|endoftext|>" not in tokenizer.tokens


@pytest.mark.parametrize("vocabulary", [None, 2, 256])
def test_a_vocabulary_that_cant_hold_the_bytes_is_refused(vocabulary):
    with pytest.raises(LabError, match="at least 257"):
        build_tokenizer(Data(tokenizer="bpe", vocabulary=vocabulary), ["text"])


@given(text=TEXTS, size=st.integers(1, 8))
def test_a_text_in_pieces_has_the_ids_of_the_whole(learnt, text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_level, "PIECE", size)
        assert "".join(pieces(text)) == text
        assert learnt.encode(text).tolist() == slow_encode(text, learnt.merges, 1)


def test_many_texts_are_encoded_in_threads_in_their_order(learnt, monkeypatch):
    monkeypatch.setattr(byte_level, "PIECE", 50)
    texts = [f"the rain {number} waits for seven blue doors\n" * (number % 5) for number in range(60)]
    assert [learnt.decode(ids) for ids in learnt.encode_batch(texts)] == texts


def test_merges_as_text_and_back_are_the_same(learnt):
    assert read_merges(write_merges(learnt.merges)) == learnt.merges
    assert write_merges([(b" ", b"t"), (b"\n", b"\xc3")]) == ["Ġ t", "Ċ Ã"]


def test_gpt2_numbers_its_tokens_as_openais_encoder(gpt2):
    published = json.loads((shared_data("gpt2-bpe") / "encoder.json").read_text(encoding="utf-8"))
    assert gpt2.vocabulary_size == len(published) == 50257
    assert gpt2.end_of_text == published.pop("<|endoftext|>") == 50256
    shown = ["".join(byte_level.SYMBOLS[byte] for byte in token) for token in gpt2.tokens[:-1]]
    assert {token: number for number, token in enumerate(shown)} == published


def test_gpt2_gives_the_published_counts_of_tokens(gpt2):
    verdict = shared_data("llms-from-scratch/the-verdict.txt").read_text(encoding="utf-8")
    assert len(gpt2.encode(verdict)) == 5145
    text = shared_data("tinyshakespeare/input.txt").read_text(encoding="utf-8")
    border = int(0.9 * len(text))
    assert [len(ids) for ids in gpt2.encode_batch([text[:border], text[border:]])] == [301_966, 36_059]


def test_gpt2_reads_an_end_of_text_in_a_document_as_text(gpt2):
    text = "before <|endoftext|> after<|endoftext|>"
    ids = gpt2.encode(text)
    assert gpt2.end_of_text not in ids and gpt2.decode(ids) == text
    assert ids.tolist() == slow_encode(text, gpt2.merges, 0)


def test_gpt2_encodes_published_tokens_of_web_text_to_the_same_tokens(gpt2):
    path = shared_data("webtext/openwebtext-gpt2-tokens-uint16.bin.xz")
    tokens = np.frombuffer(lzma.decompress(path.read_bytes()), dtype="<u2")
    assert (len(tokens), int((tokens == gpt2.end_of_text).sum())) == (1_203_184, 1_000)
    documents = np.split(tokens, np.flatnonzero(tokens == gpt2.end_of_text) + 1)[:300]
    again = gpt2.encode_batch([gpt2.decode(document[:-1]) for document in documents])
    assert all(np.array_equal(ids, document[:-1]) for ids, document in zip(again, documents, strict=True))


def test_gpt2_encodes_published_tokens_text_to_the_same_tokens(gpt2):
    path = shared_data("tinystories/tinystories-gpt2-tokens-uint16.bin.xz")
    tokens = np.frombuffer(lzma.decompress(path.read_bytes()), dtype="<u2")[:200_000]
    stories = [part[part != gpt2.end_of_text] for part in np.split(tokens, np.flatnonzero(tokens == gpt2.end_of_text))]
    again = gpt2.encode_batch([gpt2.decode(story) for story in stories])
    assert all(np.array_equal(ids, story) for ids, story in zip(again, stories, strict=True))
    assert len(stories) > 900


@given(text=st.text())
def test_gpt2_gives_back_every_text(gpt2, text):
    assert gpt2.decode(gpt2.encode(text)) == text


def test_gpt2_without_its_file_says_which_file_goes_where(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    with pytest.raises(LabError) as caught:
        load_gpt2()
    message = str(caught.value)
    assert "\n" not in message
    for part in (FILE, SHA256, str(tmp_path / "gpt2" / FILE), "LMLAB_GPT2", "https://"):
        assert part in message


def _no_network(*arguments, **settings):
    import urllib.error

    raise urllib.error.URLError("no network")


def test_gpt2_refuses_another_file_of_that_name(tmp_path, monkeypatch):
    (tmp_path / FILE).write_text("#version: 0.2\nĠ t\n", encoding="utf-8")
    monkeypatch.setenv("LMLAB_GPT2", str(tmp_path))
    with pytest.raises(LabError, match="isn't GPT-2's vocab.bpe"):
        load_gpt2()


def test_gpt2_takes_its_file_from_the_cache(tmp_path, monkeypatch):
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / FILE).write_bytes((shared_data("gpt2-bpe") / FILE).read_bytes())
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setenv("LMLAB_GPT2", str(tmp_path / "nowhere"))
    assert load_gpt2().encode("Every effort moves you").tolist() == [6109, 3626, 6100, 345]
