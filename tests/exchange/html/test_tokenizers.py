"""The page's tokenizers encode and decode like Python's, on texts and bytes of any kind."""

import random

import numpy as np
import pytest

from lmlab import LabError
from lmlab.data.tokenizers.bpe import learn_bpe
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.data.tokenizers.characters import learn_characters
from lmlab.data.tokenizers.gpt2 import GPT2, merges_of
from lmlab.data.tokenizers.words import learn_words
from lmlab.exchange.html.described import tokenizer_settings
from tests.exchange.html.made import in_node
from tests.shared import shared_data

HOSTILE = [
    "",
    " ",
    "\r\n",
    "a\r\nb\rc\n\n  d",
    "  two  spaces  ",
    "na\u00efve e\u0301 \u0301x \u200d\u200b",
    "\U0001f642\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\u4f60\u597d\uff0c\u4e16\u754c \u3000x",
    "\ufeffbom \ufeff x",
    "\x00\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u1680\u180e\u205f x",
    "don't DON'T we'll they've'S 's'tt",
    "x\t\t y\t z   ",
    "12\u00b2\u0663 34,5.6 $%^ ...",
    "<|endoftext|></script><!-- &amp; \\u003c",
    "\u0130STANBUL \u03a3\u0391\u03a3 stra\u00dfe \u01c5",
    "\ud7ff\ue000\U0010ffff",
    "<unk> <eos> word",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]
LEARNT = (
    "The quick brown fox's don't  jump\r\n over 42 na\u00efve \u4f60\u597d \U0001f642 e\u0301 dogs, aaaa\t\t.\n" * 5
)
TOKENIZERS = {
    "characters": learn_characters([LEARNT], documents_end=False, replace=False),
    "characters replaced": learn_characters([LEARNT], documents_end=True, replace=True),
    "all characters": learn_characters(["".join(HOSTILE), LEARNT], documents_end=True, replace=False),
    "bytes": Bytes(documents_end=False),
    "bytes with an end": Bytes(documents_end=True),
    "bpe": learn_bpe([LEARNT], 320),
    "words": learn_words([LEARNT], vocabulary=None, minimum_count=1, lowercase=True, replace=True),
    "words refused": learn_words([LEARNT], vocabulary=None, minimum_count=1, lowercase=False, replace=False),
}
OF_PAGE = """(() => { const made = new TOKENIZERS[input.settings.name](input.settings);
  const encoded = input.texts.map((text) => { try { return made.encode(text); } catch (error) { return null; } });
  return [encoded, input.ids.map((ids) => decode(made, ids))]; })()"""
ASSIGNED = [
    (0, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x373),
    (0x391, 0x3A1),
    (0x621, 0x63A),
    (0x2000, 0x2027),
    (0x2100, 0x2138),
    (0x3041, 0x3096),
    (0x4E00, 0x4EFF),
    (0x1F600, 0x1F64F),
]


def texts():
    """The hostile texts and random ones, of characters that every version of Unicode has had for long."""
    draw = random.Random(5)
    return HOSTILE + [
        "".join(chr(draw.randint(*draw.choice(ASSIGNED))) for _ in range(draw.randint(1, 40))) for _ in range(200)
    ]


def ids_of(tokenizer):
    """Random lists of ids, among them parts of characters."""
    generator = np.random.default_rng(6)
    return [generator.integers(0, tokenizer.vocabulary_size, size).tolist() for size in range(1, 60)]


def encoded(tokenizer, text):
    try:
        return tokenizer.encode(text).tolist()
    except LabError:
        return None


def require_same(tokenizer):
    ids = ids_of(tokenizer)
    theirs, decoded = in_node(OF_PAGE, settings=tokenizer_settings(tokenizer), texts=texts(), ids=ids)
    assert decoded == [tokenizer.decode(one) for one in ids]
    for text, found in zip(texts(), theirs, strict=True):
        assert found == encoded(tokenizer, text), ascii(text)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_ids_and_texts_are_python_s(kind):
    require_same(TOKENIZERS[kind])


def test_gpt2_s_ids_and_texts_are_python_s():
    require_same(GPT2(merges_of((shared_data("gpt2-bpe") / "vocab.bpe").read_text(encoding="utf-8"))))


def test_a_token_is_shown_without_white_space_and_controls():
    code = "input.ids.map((id) => shownToken(new TOKENIZERS[input.settings.name](input.settings), id))"
    shown = in_node(code, settings=tokenizer_settings(Bytes(documents_end=True)), ids=[*range(257)])
    assert shown[32] == "\u2423" and shown[10] == "\u21b5" and shown[97] == "a" and shown[0xC3] == "\\xc3"
    assert shown[0] == "U+0000" and shown[256] == "end of text"
    assert all(one.isprintable() and one.strip() for one in shown)
