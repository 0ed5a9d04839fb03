"""Text to ids and back: the properties of every tokenizer, then those of each of the small ones."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data.tokenizers import build_tokenizer, load_tokenizer
from lmlab.data.tokenizers.byte_level import write_merges
from lmlab.data.tokenizers.gpt2 import GPT2, merges_of
from lmlab.recipe import Data
from tests.shared import shared_data

CORPUS = [
    "To be, or not to be:\n\n  that is the question — it's   “that”.",
    "Ünïcödé 👩‍👩‍👧 déjà vu\r\n\t日本語",
    "to be to be",
]
TINY_VOCAB_BPE = "#version: 0.2\n" + "\n".join(
    write_merges([(b"t", b"h"), (b" ", b"th"), (b" th", b"e"), (b"\xc3", b"\xa9")])
)


def built(name, *, documents_end=True, texts=CORPUS, **settings):
    if name == "gpt2":
        return GPT2(merges_of(TINY_VOCAB_BPE))
    return build_tokenizer(Data(tokenizer=name, **settings), iter(texts), documents_end=documents_end)


ALL = {
    "characters": built("characters"),
    "characters-replace": built("characters", unknown="replace"),
    "bytes": built("bytes"),
    "words": built("words", vocabulary=10, unknown="replace"),
    "gpt2": built("gpt2"),
    "bpe": built("bpe", vocabulary=300),
}
LOSSLESS = [name for name, tokenizer in ALL.items() if tokenizer.lossless]
BYTE_LEVEL = ["bytes", "gpt2", "bpe"]
every = pytest.mark.parametrize("tokenizer", ALL.values(), ids=ALL)
every_lossless = pytest.mark.parametrize("tokenizer", [ALL[name] for name in LOSSLESS], ids=LOSSLESS)
every_byte_level = pytest.mark.parametrize("tokenizer", [ALL[name] for name in BYTE_LEVEL], ids=BYTE_LEVEL)


def test_only_the_tokenizers_that_can_lose_text_say_so():
    assert LOSSLESS == ["characters", "bytes", "gpt2", "bpe"]


@every_byte_level
@given(text=st.text())
def test_byte_level_gives_back_every_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()


@given(st.data(), st.text(min_size=1), st.booleans())
def test_characters_give_back_every_text_of_their_alphabet(data, corpus, documents_end):
    tokenizer = built("characters", texts=[corpus], documents_end=documents_end)
    text = data.draw(st.text(alphabet=sorted(set(corpus))))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text).tolist() == [sorted(set(corpus)).index(character) for character in text]


@every_lossless
@given(pieces=st.lists(st.sampled_from([*"abehot ,.:\n", "  ", "—", "é", "👩", "日本"]), max_size=30))
def test_token_bytes_add_up_to_the_texts_bytes(tokenizer, pieces):
    text = "".join(piece for piece in pieces if not tokenizer.unknown_symbols(piece))
    lengths = tokenizer.token_bytes()
    assert lengths.dtype == np.int32
    assert lengths.shape == (tokenizer.vocabulary_size,)
    assert lengths[tokenizer.encode(text)].sum() == len(text.encode())
    assert lengths[tokenizer.end_of_text] == 0


@every
def test_each_id_decodes_to_as_many_bytes_as_token_bytes_says(tokenizer):
    lengths = tokenizer.token_bytes()
    assert (lengths is None) == (not tokenizer.lossless)
    if lengths is not None:
        decoded = [len(tokenizer.decode_bytes([number])) for number in range(tokenizer.vocabulary_size)]
        assert decoded == lengths.tolist()


@every
def test_ids_are_int32_below_the_vocabularys_size(tokenizer):
    for ids in [tokenizer.encode(text) for text in [*CORPUS, ""]]:
        assert ids.dtype == np.int32
        assert ids.ndim == 1
        assert ids.flags.writeable
        assert all(0 <= number < tokenizer.vocabulary_size for number in ids.tolist())
    assert len(tokenizer.encode("")) == 0
    assert tokenizer.decode([]) == ""


@every
def test_a_batch_is_its_texts_one_by_one(tokenizer):
    texts = [*CORPUS, "", "to be"]
    assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == [
        tokenizer.encode(text).tolist() for text in texts
    ]
    assert tokenizer.encode_batch([]) == []


@every
def test_the_bytes_of_a_list_of_ids_are_those_of_its_parts(tokenizer):
    ids = tokenizer.encode(CORPUS[0]).tolist()
    assert b"".join(tokenizer.decode_bytes([number]) for number in ids) == tokenizer.decode_bytes(ids)


@every
def test_a_tokenizer_comes_back_from_json_the_same(tokenizer, monkeypatch):
    if tokenizer.name == "gpt2":
        monkeypatch.setattr("lmlab.data.tokenizers.gpt2.load_gpt2", lambda: built("gpt2"))
    value = json.loads(json.dumps(tokenizer.to_json()))
    again = load_tokenizer(value)
    assert value["format"] == 1
    assert again.to_json() == tokenizer.to_json()
    for part in ("name", "vocabulary_size", "end_of_text", "lossless"):
        assert getattr(again, part) == getattr(tokenizer, part)
    for text in CORPUS:
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


@every
def test_the_end_of_text_stands_for_no_text(tokenizer):
    ids = tokenizer.encode("to be").tolist()
    assert tokenizer.decode([tokenizer.end_of_text, *ids, tokenizer.end_of_text]) == tokenizer.decode(ids)


@every
def test_text_that_looks_like_an_end_of_text_is_ordinary_text(tokenizer):
    text = "to be<|endoftext|> or <|endoftext|>"
    if tokenizer.name == "characters" and tokenizer.lossless:
        tokenizer = built("characters", texts=[text])
    ids = tokenizer.encode(text)
    assert tokenizer.end_of_text not in ids
    if tokenizer.lossless:
        assert tokenizer.decode(ids) == text


@every
@pytest.mark.parametrize("number", [-1, 10**6])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer, number):
    with pytest.raises(
        LabError, match=f"{number} is not a token id: expected an id from 0 to {tokenizer.vocabulary_size - 1}"
    ):
        tokenizer.decode([0, number])


@every_byte_level
def test_byte_level_knows_every_symbol_but_half_a_surrogate_pair(tokenizer):
    assert tokenizer.unknown_symbols("日本語 \x00") == []
    with pytest.raises(LabError, match="character 2 of the text is U.D800"):
        tokenizer.encode("ab\ud800")


@every_byte_level
def test_bytes_that_are_no_utf8_decode_to_the_replacement_character(tokenizer):
    first_byte_only = tokenizer.encode("ж")[:1]
    assert tokenizer.decode(first_byte_only) == "\N{REPLACEMENT CHARACTER}"
    assert tokenizer.decode_bytes(first_byte_only) == "ж".encode()[:1]


@pytest.mark.parametrize("name", ["characters", "bytes"])
def test_a_corpus_of_one_document_has_no_end_of_text(name):
    assert built(name, documents_end=False).end_of_text is None
    with_end = built(name, documents_end=True)
    assert with_end.end_of_text == with_end.vocabulary_size - 1 == built(name, documents_end=False).vocabulary_size


def test_characters_are_numbered_by_code_point():
    tokenizer = built("characters", texts=["ba\n", "éa"], documents_end=False)
    assert tokenizer.alphabet == "\nabé"
    assert tokenizer.encode("bé\n").tolist() == [2, 3, 0]


def test_an_unseen_character_is_refused_with_its_name_and_place():
    tokenizer = built("characters", texts=["abc"])
    with pytest.raises(LabError, match=r"'é' \(U\+00E9\) at character 3 isn't among the 3.*data.unknown replace"):
        tokenizer.encode("abcé")
    with pytest.raises(
        LabError, match=r"U\+000A at character 3 .* each line as a document with --data.separator '\\n'"
    ):
        tokenizer.encode("abc\nabc")
    with pytest.raises(LabError, match=r"the symbol U\+0007 at character 0 "):
        tokenizer.encode("\x07")
    far_in = "abc" * 200_000
    with pytest.raises(LabError, match="at character 600,000 "):
        tokenizer.encode(far_in + "z")


def test_an_unseen_character_is_replaced_where_that_was_chosen():
    tokenizer = built("characters", texts=["abc"], unknown="replace")
    unknown = tokenizer.vocabulary_size - 1
    assert tokenizer.encode("aéb\U0010ffff\ud800").tolist() == [0, unknown, 1, unknown, unknown]
    assert tokenizer.decode([0, unknown]) == "a\N{REPLACEMENT CHARACTER}"
    assert tokenizer.unknown_symbols("xaé" + "b" * 300_000 + "yxé") == ["x", "é", "y"]
    assert unknown != tokenizer.end_of_text


def test_a_text_of_many_blocks_is_the_characters_one_by_one():
    text = "".join(chr(97 + (index * index) % 26) for index in range(600_001))
    ids = built("characters", texts=[text]).encode(text)
    assert np.array_equal(ids, np.unique(np.array(list(text)), return_inverse=True)[1])


@pytest.mark.parametrize("name", ["characters", "words"])
def test_a_corpus_without_text_is_refused(name):
    with pytest.raises(LabError, match="expected"):
        built(name, texts=["", ""])


def test_half_a_surrogate_pair_is_no_part_of_a_vocabulary():
    for name in ("characters", "words", "bpe"):
        with pytest.raises(LabError, match="U.DFFF"):
            built(name, texts=["ab \udfff"])


def test_words_are_the_most_frequent_with_ties_by_first_appearance():
    texts = ["the cat the dog", "A cat the bird\n a"]
    tokenizer = built("words", texts=texts, lowercase=True, vocabulary=8, unknown="replace")
    counts = Counter(" ".join(texts).lower().split())
    assert counts == {"the": 3, "cat": 2, "a": 2, "dog": 1, "bird": 1}
    assert tokenizer.words == ["the", "cat", "a", "dog"]
    assert tokenizer.vocabulary_size == 8
    assert tokenizer.encode("The  BIRD\n a dog").tolist() == [4, 1, 6, 7]
    assert tokenizer.decode([2, 4, 1, 6, 7, 3, 0]) == "the <unk> a dog"
    assert tokenizer.unknown_symbols("xyz the Bird xyz") == ["xyz", "bird"]


def test_a_text_s_own_unk_is_the_unknown_word_so_that_an_edition_with_cut_words_reads_as_the_raw_one():
    raw, cut = "the cat saw the cat and ibises and auks", "the cat saw the cat and <unk> and <unk>"
    raw_words, cut_words = (built("words", texts=[text], vocabulary=8, unknown="replace") for text in (raw, cut))
    assert raw_words.words == cut_words.words == ["the", "cat", "and", "saw"]
    assert raw_words.encode(raw).tolist() == cut_words.encode(cut).tolist()
    assert "<unk>" in built("words", texts=[cut], vocabulary=None).words


def test_rare_words_are_left_out_and_no_cut_keeps_the_rest():
    texts = ["a a a b b c"]
    assert built("words", texts=texts, vocabulary=None).words == ["a", "b", "c"]
    assert built("words", texts=texts, vocabulary=None, minimum_count=2).words == ["a", "b"]
    assert built("words", texts=["A a a"], vocabulary=None).words == ["a", "A"]


def test_a_word_outside_the_vocabulary_is_refused_with_its_place_unless_replaced():
    tokenizer = built("words", texts=["a b"])
    with pytest.raises(LabError, match="'c' at character 5 isn't among the 2.*data.unknown replace"):
        tokenizer.encode("a  b c a")


def test_words_of_wikitext_are_counted_as_an_independent_count_does():
    import lzma

    with lzma.open(shared_data("wikitext-2/valid.txt.xz"), "rt", encoding="utf-8") as file:
        lines = [line for line in file if len(line.split()) >= 5]
    tokenizer = built("words", texts=lines, lowercase=True, vocabulary=1000, unknown="replace")
    counts = Counter(word for line in lines for word in line.lower().split())
    counts["<unk>"], cut = 0, counts["<unk>"]
    assert [counts[word] for word in tokenizer.words] == sorted(counts.values(), reverse=True)[:996]
    unknown = sum(int((ids == 1).sum()) for ids in tokenizer.encode_batch(lines))
    assert unknown == cut + sum(counts.values()) - sum(counts[word] for word in tokenizer.words)


STORED = {name: ALL[name].to_json() for name in ALL}
DAMAGED = [
    None,
    [],
    {},
    {"format": 1},
    {"format": 1, "name": "sentencepiece"},
    {"format": 1, "name": 7},
    {**STORED["characters"], "format": 2},
    {**STORED["characters"], "alphabet": ""},
    {**STORED["characters"], "alphabet": "aa"},
    {**STORED["characters"], "alphabet": ["a"]},
    {**STORED["characters"], "replace": 1},
    {**STORED["bytes"], "documents_end": None},
    {**STORED["words"], "words": ["a", "a"]},
    {**STORED["words"], "words": ["a b"]},
    {**STORED["words"], "words": [""]},
    {**STORED["words"], "words": {"a": 1}},
    {**STORED["words"], "lowercase": "no"},
    {**STORED["bpe"], "merges": "Ġ t"},
    {**STORED["bpe"], "merges": [["Ġ", "t"]]},
    {**STORED["bpe"], "merges": ["Ġt"]},
    {**STORED["bpe"], "merges": ["日 本"]},
    {**STORED["bpe"], "merges": ["a bc"]},
    {**STORED["bpe"], "merges": ["a b", "a b"]},
    {**STORED["gpt2"], "sha256": "0" * 64},
]


@pytest.mark.parametrize("value", DAMAGED)
def test_a_damaged_tokenizer_is_refused_with_one_line(value):
    with pytest.raises(LabError) as caught:
        load_tokenizer(value)
    assert "\n" not in str(caught.value)
    assert "tokenizer" in str(caught.value)
