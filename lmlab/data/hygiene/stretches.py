"""A split's text as a stream of stretches of some hundred kilobytes, with the positions of its documents.

A stretch contains whole lines if they are shorter than HELD_BYTES, and always whole characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.data.dataset import Dataset
from lmlab.data.sources import part_of

TOKENS_A_TIME = 1 << 18
HELD_BYTES = 1 << 16
"""A document is cut at a line break at most this far back, else at a space, else anywhere."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of a split's text: consecutive documents, with a line break after each that ends here."""

    text: bytes
    begins: np.ndarray
    """int64 [documents]: the offset of each document, or of its part here, in `text`."""
    first: int
    """Number of the first document."""
    offset: int
    """Bytes of that document before this stretch."""

    def places(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (document, byte in it), int64 [positions], of each position in `text`; a negative one is before the stretch."""
        index = np.maximum(np.searchsorted(self.begins, positions, side="right") - 1, 0)
        return self.first + index, positions - self.begins[index] + np.where(index == 0, self.offset, 0)


def stretches(dataset: Dataset, split: str) -> Iterator[Stretch]:
    """Yield the stretches of a split in order."""
    starts = dataset.document_starts(split)
    sizes = dataset.token_bytes()
    document, offset, held = 0, 0, b""
    for begin in range(0, int(starts[-1]), TOKENS_A_TIME):
        end = min(begin + TOKENS_A_TIME, int(starts[-1]))
        texts = _texts(dataset, split, starts[_inside(starts, begin, end)], begin, end, sizes)
        texts[0] = held + texts[0]
        ended = bool(starts[np.searchsorted(starts, end)] == end)
        held = b"" if ended else texts[-1][cut_before(texts[-1]) :]
        if held:
            texts[-1] = texts[-1][: -len(held)]
        yield Stretch(
            text=b"\n".join(texts) + (b"\n" if ended else b""),
            begins=np.cumsum([0, *(len(text) + 1 for text in texts)][: len(texts)]),
            first=document,
            offset=offset,
        )
        going_on = 0 if ended else len(texts[-1]) + (offset if len(texts) == 1 else 0)
        document, offset = document + len(texts) - (not ended), going_on


def cut_before(text: bytes) -> int:
    """Return where to cut a document that continues after `text`: after a line break, before a space, or before a character that
    may be incomplete.

    >>> cut_before(b"one\\ntwo thr"), cut_before("über ü".encode()[:-1]), cut_before("aü".encode()[:-1])
    (4, 5, 1)
    """
    line = text.rfind(b"\n", max(0, len(text) - HELD_BYTES))
    if line >= 0:
        return line + 1
    space = text.rfind(b" ", max(0, len(text) - HELD_BYTES))
    if space > 0:
        return space
    for back in range(1, min(4, len(text)) + 1):
        if text[-back] >= 0xC0:
            return len(text) - back
        if text[-back] < 0x80:
            break
    return len(text)


def _inside(starts: np.ndarray, begin: int, end: int) -> slice:
    """Return the slice of the documents that begin after `begin` and before `end`."""
    return slice(int(np.searchsorted(starts, begin, side="right")), int(np.searchsorted(starts, end)))


def _texts(
    dataset: Dataset, split: str, inner: np.ndarray, begin: int, end: int, sizes: np.ndarray | None
) -> list[bytes]:
    """Return the text of tokens `begin` to `end`, divided at document starts; `sizes` are the bytes of each token id."""
    edges = np.concatenate([[begin], inner, [end]])
    ids = dataset.tokens(split)[begin:end].astype(np.int64)
    if sizes is None:
        parts = [ids[one - begin : other - begin] for one, other in zip(edges, edges[1:], strict=False)]
        return [dataset.tokenizer.decode_bytes(part) for part in parts]
    text = dataset.tokenizer.decode_bytes(ids)
    cuts = np.append(0, np.cumsum(sizes[ids], dtype=np.int64))[edges - begin].tolist()
    return [text[one:other] for one, other in zip(cuts, cuts[1:], strict=False)]


class Places:
    """Positions in a split as plain values: split, document, byte, and the source file if there is only one."""

    def __init__(self, dataset: Dataset, split: str) -> None:
        self._dataset, self._split = dataset, split
        self._starts = dataset.document_starts(split)
        self._before = np.append(0, np.cumsum(dataset.document_bytes(split))) if dataset.lossless else None
        self._source = source_of(dataset, split)
        self._token_bytes = dataset.token_bytes()
        self._end: int | None = dataset.facts["tokenizer"]["end_of_text"]
        self._sums: np.ndarray | None = None

    def of_byte(self, document: int, offset: int) -> dict[str, Any]:
        """Return the position of a byte of a document."""
        place: dict[str, Any] = {"split": self._split, "document": document, "offset": offset}
        place["split_offset"] = None if self._before is None else int(self._before[document]) + offset
        place["source"] = self._source
        return place

    def of_token(self, token: int) -> dict[str, Any]:
        """Return the position of a token's first byte; an end of text, which has none, gives the document after it."""
        document, token = self._document(token)
        return self.of_byte(document, self._size(int(self._starts[document]), token))

    def around(self, token: int, most: int) -> tuple[bytes, bytes]:
        """Return the text before a token and from it on, at most `most` tokens each, within its document."""
        document, token = self._document(token)
        first, end = (int(edge) for edge in self._starts[document : document + 2])
        return self.text(max(first, token - most), token), self.text(token, min(end, token + most))

    def text(self, first: int, end: int) -> bytes:
        """Return the text of the tokens `first` to `end`."""
        return self._dataset.tokenizer.decode_bytes(self._dataset.tokens(self._split)[first:end].astype(np.int64))

    def _document(self, token: int) -> tuple[int, int]:
        """Return the document of a token, and the token; an end of text is replaced by the next token."""
        if token + 1 < int(self._starts[-1]) and int(self._dataset.tokens(self._split)[token]) == self._end:
            token += 1
        return int(np.searchsorted(self._starts, token, side="right")) - 1, token

    def _size(self, first: int, end: int) -> int:
        """Return the bytes of text of the tokens `first` to `end`."""
        if self._token_bytes is None:
            return len(self.text(first, end))
        return self._bytes_before(end) - self._bytes_before(first)

    def _bytes_before(self, token: int) -> int:
        """Return the bytes of the split's text before a token, using a table of sums made at the first call."""
        tokens, sizes = self._dataset.tokens(self._split), self._token_bytes
        assert sizes is not None
        if self._sums is None:
            parts = [sizes[tokens[at : at + TOKENS_A_TIME]].sum() for at in range(0, len(tokens), TOKENS_A_TIME)]
            self._sums = np.cumsum([0, *parts])
        part = token // TOKENS_A_TIME
        return int(self._sums[part] + sizes[tokens[part * TOKENS_A_TIME : token]].sum())


def source_of(dataset: Dataset, split: str) -> str | None:
    """Return the file that all of a split is from; None if there are several, or it isn't known."""
    names = [source["name"] for source in dataset.facts["corpus"].get("sources", [])]
    if len(names) > 1 and dataset.facts["split"]["rule"] == "parts":
        names = [name for name in names if part_of(name) == split]
    return names[0] if len(names) == 1 else None
