"""What every tokenizer does, and the checks that they share.

In: text. Out: int32 ids, and back. A tokenizer is plain data (`to_json`), so a run carries its own, and nothing has to
be unpickled to read one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError

FORMAT = 1
"""Version of the values that `to_json` gives."""

Ids = NDArray[np.int32]


class Tokenizer(Protocol):
    """Text to ids and back. Text that looks like a special token is ordinary text to every one of them."""

    name: str
    """Its name in recipes: characters, bytes, words, gpt2 or bpe."""
    vocabulary_size: int
    """How many ids there are; an id is at least 0 and below it."""
    lossless: bool
    """Whether decode(encode(text)) == text for every text that it accepts."""

    @property
    def end_of_text(self) -> int | None:
        """The id that ends each document; it stands for no text. None if the corpus is one document."""

    @property
    def begin_of_text(self) -> int | None:
        """The id that begins each document where documents are cut by themselves; without one of its own, the end of text."""

    def encode(self, text: str) -> Ids:
        """Return the text's ids, int32 [tokens]; raises LabError that names the symbol and its place, for one that is refused."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text, on all cores where that pays."""

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of the ids; bytes that are no UTF-8 become U+FFFD. Raises LabError for an id outside the vocabulary."""

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the same as UTF-8, exact where nothing is lost: the bytes of a list of ids are those of its parts, joined."""

    def token_bytes(self) -> Ids | None:
        """Return bytes of text that each id stands for, int32 [vocabulary] (the end of text 0); None if text is lost."""

    def unknown_symbols(self, text: str) -> list[str]:
        """Return the distinct symbols of the text that are outside the vocabulary, in order of appearance."""

    def to_json(self) -> dict[str, Any]:
        """Return all that is needed to build it again, as JSON-safe values; `load_tokenizer` reads it."""


def checked_ids(ids: ArrayLike, vocabulary_size: int) -> NDArray[np.int64]:
    """Return the ids as an array; raises LabError if one is outside the vocabulary."""
    array = np.asarray(ids, dtype=np.int64).reshape(-1)
    outside = (array < 0) | (array >= vocabulary_size)
    if outside.any():
        raise LabError(f"{int(array[outside][0])} is no token: expected an id from 0 to {vocabulary_size - 1}")
    return array


def utf8(text: str) -> bytes:
    """Return the text's UTF-8; raises LabError if it holds half of a surrogate pair, which no file in UTF-8 can hold."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LabError(
            f"character {error.start:,} of the text is {symbol_name(text[error.start])}, half of a surrogate pair: "
            "expected Unicode text; read the file as UTF-8"
        ) from None


def symbol_name(symbol: str) -> str:
    """Return how a message calls a character: as itself where that can be printed, with its code point."""
    code = f"U+{ord(symbol):04X}"
    return f"{symbol!r} ({code})" if symbol.isprintable() else code


def damaged(name: str, problem: str) -> LabError:
    """Return the error for a stored tokenizer that can't be one."""
    return LabError(f"the stored {name} tokenizer is damaged: {problem}; take it from a copy or make it again")
