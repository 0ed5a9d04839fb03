"""The interface of tokenizers, and the checks that they share.

Text is converted to int32 ids and back. A tokenizer is plain data (`to_json`), so a run stores its own, and nothing has to
be unpickled to read one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError

FORMAT = 1
"""Version of the values that `to_json` returns."""

Ids = NDArray[np.int32]


@runtime_checkable
class Tokenizer(Protocol):
    """Converts text to ids and back. Text that looks like a special token is encoded as ordinary text."""

    name: str
    """Its name in recipes: characters, bytes, words, gpt2, bpe or imported."""
    vocabulary_size: int
    """Number of ids; ids are 0 to vocabulary_size - 1."""
    lossless: bool
    """Whether decode(encode(text)) == text for every accepted text."""

    @property
    def end_of_text(self) -> int | None:
        """The id that ends each document and has no text; None if the corpus is one document."""

    @property
    def begin_of_text(self) -> int | None:
        """The id that begins each document if documents are read separately; the end of text if there is no other."""

    def encode(self, text: str) -> Ids:
        """Return the text's ids, int32 [tokens]; raises LabError with the symbol and its place if a symbol is refused."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text, computed on all cores if that is faster."""

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of the ids; invalid UTF-8 becomes U+FFFD. Raises LabError for an id outside the vocabulary."""

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the decoded text as UTF-8, exactly if lossless: the bytes of a list of ids are those of its parts, joined."""

    def token_bytes(self) -> Ids | None:
        """Return the bytes of text of each id, int32 [vocabulary] (the end of text 0); None if text is lost."""

    def unknown_symbols(self, text: str) -> list[str]:
        """Return the distinct symbols of the text outside the vocabulary, in order of appearance."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `load_tokenizer` restores the tokenizer."""


def checked_ids(ids: ArrayLike, vocabulary_size: int) -> NDArray[np.int64]:
    """Return the ids as an array; raises LabError if one is outside the vocabulary."""
    array = np.asarray(ids, dtype=np.int64).reshape(-1)
    outside = (array < 0) | (array >= vocabulary_size)
    if outside.any():
        raise LabError(f"{int(array[outside][0])} is not a token id: expected an id from 0 to {vocabulary_size - 1}")
    return array


def utf8(text: str) -> bytes:
    """Return the text as UTF-8; raises LabError if it contains half of a surrogate pair, which UTF-8 can't represent."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LabError(
            f"character {error.start:,} of the text is {symbol_name(text[error.start])}, half of a surrogate pair: "
            "expected Unicode text; read the file as UTF-8"
        ) from None


def symbol_name(symbol: str) -> str:
    """Return a character as text for a message: itself if printable, with its code point."""
    code = f"U+{ord(symbol):04X}"
    return f"{symbol!r} ({code})" if symbol.isprintable() else code


def damaged(name: str, problem: str) -> LabError:
    """Return the error for a damaged stored tokenizer."""
    return LabError(f"the stored {name} tokenizer is damaged: {problem}; take it from a copy or make it again")
