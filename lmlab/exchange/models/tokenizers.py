"""Tokenizers in the form of the tokenizers library (tokenizer.json), in both directions.

`definition_of` returns ours in that form, with the same ids for every text that ours accepts; `tokenizer_of` returns ours for a
definition that is one of these, and runs every other with the library (`data.tokenizers.imported`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.tokenizers.bpe import BPE
from lmlab.data.tokenizers.byte_level import END_OF_TEXT, SYMBOLS, ByteLevel, read_merges, write_merges
from lmlab.data.tokenizers.bytes import BYTES, Bytes
from lmlab.data.tokenizers.characters import Characters
from lmlab.data.tokenizers.gpt2 import GPT2, is_published, keep_published
from lmlab.data.tokenizers.imported import Imported
from lmlab.data.tokenizers.words import SPECIALS, UNKNOWN_TEXT, Words

UNKNOWN = "<|unknown|>"
WORDS_SPECIAL = ("<pad>", UNKNOWN_TEXT, "<bos>", "<eos>")
"""Ids 0 to 3 of a tokenizer of words."""
ANY_CHARACTER = r"[\s\S]"
"""A regular expression for one character of any kind, a line break too."""
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
"""GPT-2's pattern, and its symbols for bytes."""
BYTES_ALONE = {**BYTE_LEVEL, "use_regex": False}
FORM = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None}
CHARACTERS = {
    "normalizer": None,
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": ANY_CHARACTER},
        "behavior": "Isolated",
        "invert": False,
    },
    "decoder": {"type": "Fuse"},
}
EXPORTED = ("characters", "bytes", "words", "gpt2", "bpe", "imported")
"""Names of the tokenizers that have this form."""


def definition_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the tokenizer in the library's form; LabError for one of another kind."""
    if isinstance(tokenizer, Imported):
        return dict(tokenizer.definition)
    if isinstance(tokenizer, ByteLevel):
        return _byte_level(tokenizer)
    if isinstance(tokenizer, Bytes):
        return _bytes(tokenizer)
    if isinstance(tokenizer, Characters):
        return _characters(tokenizer)
    if isinstance(tokenizer, Words):
        return _words(tokenizer)
    raise LabError(
        f"the tokenizer {tokenizer.name} has no form in the tokenizers library: expected one of {', '.join(EXPORTED)}"
    )


def special_texts(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the texts of the special tokens by role (bos_token, eos_token, unk_token, pad_token), as far as there are any."""
    if isinstance(tokenizer, Words):
        return dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), WORDS_SPECIAL, strict=True))
    found = {}
    if isinstance(tokenizer, Imported):
        texts = {number: text for text, number in _vocabulary_of(tokenizer.definition).items()}
        ids = {"bos_token": tokenizer.begin_of_text, "eos_token": tokenizer.end_of_text}
        return {role: texts[number] for role, number in ids.items() if number is not None and number in texts}
    if tokenizer.end_of_text is not None:
        found = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    if isinstance(tokenizer, Characters) and tokenizer.replace:
        found["unk_token"] = UNKNOWN
    return found


def tokenizer_of(
    definition: Mapping[str, Any], vocabulary: int, begin_of_text: int | None = None, end_of_text: int | None = None
) -> Tokenizer:
    """Return the tokenizer of a definition for a model of this vocabulary.

    The ends of texts are the model's. LabError for a definition that the library refuses, or whose ids exceed the vocabulary.
    """
    for recognise in (_as_byte_level, _as_characters, _as_bytes, _as_words):
        found = recognise(definition)
        if found is not None and found.vocabulary_size == vocabulary:
            return found
    return Imported(definition, vocabulary, begin_of_text=begin_of_text, end_of_text=end_of_text)


def gpt2_form(ids: Mapping[str, int], merges: Sequence[str]) -> dict[str, Any]:
    """Return the definition of a byte-level BPE with GPT-2's pattern, from its vocabulary and its lines of merges."""
    special = [_special(ids[END_OF_TEXT], END_OF_TEXT)] if END_OF_TEXT in ids else []
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(ids),
        "merges": [line.split(" ") for line in merges],
    }
    rest = {"added_tokens": special, "normalizer": None, "pre_tokenizer": BYTE_LEVEL, "decoder": BYTE_LEVEL}
    return {**FORM, **rest, "model": model}


def _byte_level(tokenizer: ByteLevel) -> dict[str, Any]:
    ids = {_symbols(token): number for number, token in enumerate(tokenizer.tokens) if number != tokenizer.end_of_text}
    return gpt2_form({**ids, END_OF_TEXT: tokenizer.end_of_text}, write_merges(tokenizer.merges))


def _as_byte_level(definition: Mapping[str, Any]) -> Tokenizer | None:
    """Return GPT-2's tokenizer or a BPE with the same ids; None where the definition is something else."""
    model = definition.get("model")
    before = definition.get("pre_tokenizer")
    if not isinstance(model, dict) or not isinstance(before, dict) or model.get("type") != "BPE":
        return None
    changes = ("normalizer", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    if definition.get("normalizer") or any(model.get(name) for name in changes):
        return None
    if before.get("type") != "ByteLevel" or before.get("add_prefix_space", True) or not before.get("use_regex", True):
        return None
    if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
        return None
    try:
        merges = read_merges([line if isinstance(line, str) else " ".join(line) for line in model["merges"]])
        made: BPE | GPT2 = BPE(merges) if model["vocab"].get(END_OF_TEXT) == 0 else GPT2(merges)
    except (LabError, TypeError):
        return None
    if isinstance(made, GPT2) and not is_published(merges):
        return None
    wanted = _byte_level(made)
    if _vocabulary_of(definition) != _vocabulary_of(wanted):
        return None
    if isinstance(made, GPT2):
        keep_published(merges)
    return made


def _characters(tokenizer: Characters) -> dict[str, Any]:
    ids = {character: number for number, character in enumerate(tokenizer.alphabet)}
    added = []
    for text, number in ((END_OF_TEXT, tokenizer.end_of_text), (UNKNOWN, tokenizer.unknown)):
        if number is not None:
            ids[text] = number
            added.append(_special(number, text))
    return {
        **FORM,
        "added_tokens": added,
        **CHARACTERS,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": UNKNOWN},
    }


def _as_characters(definition: Mapping[str, Any]) -> Tokenizer | None:
    ids = _vocabulary_of(definition)
    letters = sorted((number, text) for text, number in ids.items() if text not in (END_OF_TEXT, UNKNOWN))
    if not letters or any(len(text) != 1 for _, text in letters):
        return None
    alphabet = "".join(text for _, text in letters)
    made = Characters(alphabet, documents_end=END_OF_TEXT in ids, replace=UNKNOWN in ids)
    return made if _equal(definition, _characters(made)) else None


def _bytes(tokenizer: Bytes) -> dict[str, Any]:
    ids = {SYMBOLS[byte]: byte for byte in range(BYTES)}
    if tokenizer.end_of_text is not None:
        ids[END_OF_TEXT] = tokenizer.end_of_text
    return {**gpt2_form(ids, []), "pre_tokenizer": BYTES_ALONE}


def _as_bytes(definition: Mapping[str, Any]) -> Tokenizer | None:
    made = Bytes(documents_end=END_OF_TEXT in _vocabulary_of(definition))
    return made if _equal(definition, _bytes(made)) else None


def _words(tokenizer: Words) -> dict[str, Any]:
    taken = set(WORDS_SPECIAL) & set(tokenizer.words)
    if taken:
        raise LabError(f"its vocabulary has {min(taken)} as a word, which is the text of a special token in the export")
    ids = {text: number for number, text in enumerate([*WORDS_SPECIAL, *tokenizer.words])}
    return {
        **FORM,
        "added_tokens": [_special(number, text) for number, text in enumerate(WORDS_SPECIAL)],
        "normalizer": {"type": "Lowercase"} if tokenizer.lowercase else None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": UNKNOWN_TEXT if tokenizer.replace else UNKNOWN},
    }


def _as_words(definition: Mapping[str, Any]) -> Tokenizer | None:
    ids, model = _vocabulary_of(definition), definition.get("model")
    texts = [text for _, text in sorted((number, text) for text, number in ids.items())]
    if tuple(texts[:SPECIALS]) != WORDS_SPECIAL or not isinstance(model, dict):
        return None
    lower, replace = definition.get("normalizer") is not None, model.get("unk_token") == UNKNOWN_TEXT
    made = Words(texts[SPECIALS:], lowercase=lower, replace=replace)
    return made if _equal(definition, _words(made)) else None


def _special(number: int, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, **flags, "special": True}


def _vocabulary_of(definition: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids by text, of the model and of added tokens; empty where there are none."""
    model, added = definition.get("model"), definition.get("added_tokens")
    found = model.get("vocab") if isinstance(model, dict) else None
    ids = dict(found) if isinstance(found, dict) else {}
    for one in added if isinstance(added, list) else []:
        if isinstance(one, dict) and isinstance(one.get("content"), str):
            ids[one["content"]] = one.get("id")
    return ids if all(type(number) is int for number in ids.values()) else {}


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two definitions encode alike: whatever is about cutting, padding and offsets is passed over."""
    names = ("added_tokens", "normalizer", "pre_tokenizer", "decoder", "model")
    return all(one.get(name) == other.get(name) for name in names)


def _symbols(token: bytes) -> str:
    return "".join(SYMBOLS[byte] for byte in token)
