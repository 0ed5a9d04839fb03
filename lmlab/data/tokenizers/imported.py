"""The tokenizer of an imported model: a definition in the form of the tokenizers library (its tokenizer.json), run by that library.

It may have fewer tokens than the model, whose vocabulary is often padded to a round number: the ids after them have no text.
Text that looks like a special token is encoded as ordinary text, as by all tokenizers here, and no token is added at the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmlab import LabError
from lmlab.data.tokenizers.base import FORMAT, Ids, checked_ids, damaged, utf8
from lmlab.data.tokenizers.byte_level import SYMBOL_BYTES

SPACE = "\u2581"
"""SentencePiece's sign for a space."""
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""A token for a single byte where the vocabulary has no other for it."""
MOST_TOKENS = 1 << 24


class Imported:
    """A tokenizer of the tokenizers library."""

    name = "imported"

    def __init__(
        self,
        definition: Mapping[str, Any],
        vocabulary_size: int,
        *,
        begin_of_text: int | None = None,
        end_of_text: int | None = None,
    ) -> None:
        """`definition`: the content of tokenizer.json; `vocabulary_size`: the model's. LabError for a definition that the library
        refuses, or whose tokens can't be converted to bytes."""
        self.definition = definition
        self.vocabulary_size = vocabulary_size
        self.end_of_text = end_of_text
        self.begin_of_text = end_of_text if begin_of_text is None else begin_of_text
        self._begin = begin_of_text
        self._library = _library(definition)
        self.tokens = _tokens(self._library.get_vocab(with_added_tokens=True), definition, vocabulary_size)
        """Bytes of each id; special tokens and ids without a token have none."""
        self.lossless = _is_lossless(definition)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Imported:
        """Return the tokenizer that `to_json` converted; raises LabError if it is invalid."""
        definition, size = value.get("definition"), value.get("vocabulary")
        if not isinstance(definition, dict) or type(size) is not int or not 0 < size <= MOST_TOKENS:
            raise damaged(cls.name, f"definition must be an object, vocabulary a number of at most {MOST_TOKENS:,}")
        ends = {name: value.get(name) for name in ("begin_of_text", "end_of_text")}
        if any(entry is not None and (type(entry) is not int or not 0 <= entry < size) for entry in ends.values()):
            raise damaged(cls.name, "begin_of_text and end_of_text must be ids or null")
        try:
            return cls(definition, size, **ends)
        except LabError as error:
            raise damaged(cls.name, str(error)) from None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that restore the tokenizer."""
        return {
            "format": FORMAT,
            "name": self.name,
            "vocabulary": self.vocabulary_size,
            "begin_of_text": self._begin,
            "end_of_text": self.end_of_text,
            "definition": self.definition,
        }

    def encode(self, text: str) -> Ids:
        """Return the text's ids."""
        utf8(text)
        return np.array(self._library.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text, computed on all cores."""
        for text in texts:
            utf8(text)
        found = self._library.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(one.ids, dtype=np.int32) for one in found]

    def decode(self, ids: ArrayLike) -> str:
        """Return the text without special tokens; invalid UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the bytes of the ids; a tokenizer that puts a space before a text's first word keeps it."""
        return b"".join([self.tokens[number] for number in checked_ids(ids, self.vocabulary_size).tolist()])

    def token_bytes(self) -> Ids | None:
        """Return the number of bytes of each id; None if text is lost."""
        return np.array([len(token) for token in self.tokens], dtype=np.int32) if self.lossless else None

    def unknown_symbols(self, text: str) -> list[str]:
        """Return an empty list: what has no token of its own is left to the library."""
        return []


def _library(definition: Mapping[str, Any]) -> Any:
    """Return the library's tokenizer."""
    from tokenizers import Tokenizer as Library

    try:
        made = Library.from_str(json.dumps(definition))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - it raises plain exceptions, and for some faults one of Rust's panics
        said = next(iter(str(error).splitlines()), "")[:200]
        raise LabError(f"the tokenizers library refuses it ({said}): expected a tokenizer.json that it wrote") from None
    # A definition may say that a text is cut off or padded, which is meant for batches of a model.
    made.no_truncation()
    made.no_padding()
    made.encode_special_tokens = True
    return made


def _tokens(ids: Mapping[str, int], definition: Mapping[str, Any], size: int) -> list[bytes]:
    """Return the bytes of each id."""
    added = definition.get("added_tokens")
    added = {one.get("content"): one for one in added if isinstance(one, dict)} if isinstance(added, list) else {}
    to_bytes = _converter(definition.get("decoder"))
    found = [b""] * size
    for token, number in ids.items():
        if not 0 <= number < size:
            raise LabError(
                f"it has the token id {number:,}, but the model a vocabulary of {size:,}: name the right one with --tokenizer"
            )
        if token in added:
            found[number] = b"" if added[token].get("special") else token.encode("utf-8", errors="replace")
        else:
            found[number] = to_bytes(token)
    return found


def _converter(decoder: Any) -> Any:
    """Return the function from a token's text to its bytes that a decoder stands for."""
    parts = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    kinds = {one.get("type") for one in parts if isinstance(one, dict)} if isinstance(parts, list) else set()
    if kinds == {"ByteLevel"}:
        return _of_symbols
    if kinds == {"Fuse"}:
        return lambda token: token.encode("utf-8", errors="replace")
    if kinds and kinds <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        return _of_pieces
    raise LabError(
        f"its decoder ({', '.join(sorted(map(str, kinds)))[:80] or 'none'}) can't be converted to bytes of tokens"
    )


def _of_symbols(token: str) -> bytes:
    try:
        return bytes(SYMBOL_BYTES[symbol] for symbol in token)
    except KeyError:
        return token.encode("utf-8", errors="replace")


def _of_pieces(token: str) -> bytes:
    match = BYTE.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else token.replace(SPACE, " ").encode("utf-8", errors="replace")


def _is_lossless(definition: Mapping[str, Any]) -> bool:
    """Return whether every text is decoded as it was: only of byte-level tokenizers that change no text before it is divided."""
    decoder, before = definition.get("decoder"), definition.get("pre_tokenizer")
    parts = before.get("pretokenizers", [before]) if isinstance(before, dict) else []
    levels = [one for one in parts if isinstance(one, dict) and one.get("type") == "ByteLevel"]
    whole = isinstance(decoder, dict) and decoder.get("type") == "ByteLevel" and bool(levels)
    return whole and definition.get("normalizer") is None and not any(one.get("add_prefix_space") for one in levels)
