"""Bytes as tokens: the id is the byte of the text's UTF-8; the end of text, if documents have one, is id 256."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmlab.data.tokenizers.base import FORMAT, Ids, checked_ids, damaged, utf8

BYTES = 256


class Bytes:
    """A tokenizer of 256 bytes, lossless for every text."""

    name = "bytes"
    lossless = True

    def __init__(self, *, documents_end: bool) -> None:
        """`documents_end`: whether there is an end of text (id 256)."""
        self.end_of_text = self.begin_of_text = BYTES if documents_end else None
        self.vocabulary_size = BYTES + documents_end

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Bytes:
        """Return the tokenizer that `to_json` converted."""
        if not isinstance(value.get("documents_end"), bool):
            raise damaged(cls.name, "documents_end must be true or false")
        return cls(documents_end=value["documents_end"])

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that restore the tokenizer."""
        return {"format": FORMAT, "name": self.name, "documents_end": self.end_of_text is not None}

    def encode(self, text: str) -> Ids:
        """Return the bytes of the text's UTF-8."""
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: ArrayLike) -> str:
        """Return the text; invalid UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the ids as bytes, without ends of text."""
        array = checked_ids(ids, self.vocabulary_size)
        return array[array < BYTES].astype(np.uint8).tobytes()

    def token_bytes(self) -> Ids:
        """Return 1 for every byte, 0 for the end of text."""
        return (np.arange(self.vocabulary_size) < BYTES).astype(np.int32)

    def unknown_symbols(self, text: str) -> list[str]:
        """Return an empty list, since every byte has a token."""
        return []
