"""Characters as tokens: the corpus's alphabet in the order of code points, as nanoGPT numbers it.

Ids: the alphabet, then the end of text if documents have one, then the unknown token if other characters are replaced.
Encoding and decoding look up whole blocks of UTF-32 in a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmlab import LabError
from lmlab.data.tokenizers.base import FORMAT, Ids, checked_ids, damaged, symbol_name, utf8

CODE_POINTS = 0x110000
BLOCK = 1 << 18
"""Characters looked up at once, so that the UTF-32 of a large text is never held whole."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Characters:
    """One token per character. Without `replace` it's lossless, and refuses characters outside its alphabet."""

    name = "characters"

    def __init__(self, alphabet: str, *, documents_end: bool, replace: bool) -> None:
        """`alphabet`: distinct characters in the order of their ids; `replace`: whether others become the unknown token."""
        self.alphabet = alphabet
        self.replace = replace
        self.lossless = not replace
        self.end_of_text = self.begin_of_text = len(alphabet) if documents_end else None
        self.unknown = len(alphabet) + documents_end if replace else None
        self.vocabulary_size = len(alphabet) + documents_end + replace
        self._points = _points(alphabet)
        # The last entry is for all code points after the alphabet's last.
        self._table = np.full(int(self._points.max(initial=0)) + 2, -1, dtype=np.int32)
        self._table[self._points] = np.arange(len(alphabet), dtype=np.int32)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Characters:
        """Return the tokenizer that `to_json` converted; raises LabError if the alphabet is invalid."""
        alphabet = value.get("alphabet")
        if not isinstance(alphabet, str) or not alphabet or len(set(alphabet)) < len(alphabet):
            raise damaged(cls.name, "alphabet must be a text of different characters")
        if any("\ud800" <= symbol <= "\udfff" for symbol in alphabet):
            raise damaged(cls.name, "alphabet holds half of a surrogate pair")
        if not isinstance(value.get("documents_end"), bool) or not isinstance(value.get("replace"), bool):
            raise damaged(cls.name, "documents_end and replace must be true or false")
        return cls(alphabet, documents_end=value["documents_end"], replace=value["replace"])

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that restore the tokenizer."""
        return {
            "format": FORMAT,
            "name": self.name,
            "alphabet": self.alphabet,
            "documents_end": self.end_of_text is not None,
            "replace": self.replace,
        }

    def encode(self, text: str) -> Ids:
        """Return the characters' ids; raises LabError for one outside the alphabet, unless it is replaced."""
        ids = np.empty(len(text), dtype=np.int32)
        for first, block in self._looked_up(text):
            if self.unknown is not None:
                block[block < 0] = self.unknown
            elif block.min(initial=0) < 0:
                place = first + int(np.argmax(block < 0))
                lines = r", or read each line as a document with --data.separator '\n'" if text[place] == "\n" else ""
                raise LabError(
                    f"the symbol {symbol_name(text[place])} at character {place:,} isn't among the {len(self.alphabet):,} that "
                    f"the tokenizer knows: leave it out{lines}, or train with --data.unknown replace"
                )
            ids[first : first + len(block)] = block
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: ArrayLike) -> str:
        """Return the text without ends of text; the unknown token becomes U+FFFD."""
        array = checked_ids(ids, self.vocabulary_size)
        points = np.append(self._points, [ord(REPLACEMENT)] * (self.vocabulary_size - len(self.alphabet)))
        found: str = points[array[array != self.end_of_text]].astype("<u4").tobytes().decode("utf-32-le")
        return found

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the text as UTF-8."""
        return self.decode(ids).encode("utf-8")

    def token_bytes(self) -> Ids | None:
        """Return the length of each character in UTF-8, 0 for the end of text; None if characters are replaced."""
        if not self.lossless:
            return None
        lengths = [len(character.encode("utf-8")) for character in self.alphabet]
        return np.array(lengths + [0] * (self.vocabulary_size - len(lengths)), dtype=np.int32)

    def unknown_symbols(self, text: str) -> list[str]:
        """Return the distinct characters outside the alphabet, in order of appearance."""
        found: dict[str, None] = {}
        for first, block in self._looked_up(text):
            found.update(dict.fromkeys(text[first + place] for place in np.flatnonzero(block < 0)))
        return list(found)

    def _looked_up(self, text: str) -> Iterator[tuple[int, Ids]]:
        """Yield (first character, ids) of each block of the text, with -1 for characters outside the alphabet."""
        last = np.uint32(len(self._table) - 1)
        for first in range(0, len(text), BLOCK):
            yield first, self._table[np.minimum(_points(text[first : first + BLOCK]), last)]


def learn_characters(texts: Iterable[str], *, documents_end: bool, replace: bool) -> Characters:
    """Return the tokenizer of all characters in `texts`; raises LabError if there are none."""
    seen = np.zeros(CODE_POINTS, dtype=bool)
    for text in texts:
        utf8(text)
        for first in range(0, len(text), BLOCK):
            seen[_points(text[first : first + BLOCK])] = True
    alphabet = "".join(map(chr, np.flatnonzero(seen)))
    if not alphabet:
        raise LabError("the corpus has no text: expected at least one character to learn an alphabet from")
    return Characters(alphabet, documents_end=documents_end, replace=replace)


def _points(text: str) -> NDArray[np.uint32]:
    """Return the text's code points."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
