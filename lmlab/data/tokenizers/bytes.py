"""Bytes as tokens: id = the byte of the text's UTF-8, with the end of text after the 256 where documents end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmlab.data.tokenizers.base import FORMAT, Ids, checked_ids, damaged, utf8

BYTES = 256


class Bytes:
    """256 byte tokens; it accepts every text and loses nothing."""

    name = "bytes"
    lossless = True

    def __init__(self, *, documents_end: bool) -> None:
        """`documents_end`: whether there is an end of text (id 256)."""
        self.end_of_text = self.begin_of_text = BYTES if documents_end else None
        self.vocabulary_size = BYTES + documents_end

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Bytes:
        """From what `to_json` gave."""
        if not isinstance(value.get("documents_end"), bool):
            raise damaged(cls.name, "documents_end must be true or false")
        return cls(documents_end=value["documents_end"])

    def to_json(self) -> dict[str, Any]:
        """Return all that is needed to build it again."""
        return {"format": FORMAT, "name": self.name, "documents_end": self.end_of_text is not None}

    def encode(self, text: str) -> Ids:
        """Return the bytes of the text's UTF-8."""
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return `encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: ArrayLike) -> str:
        """Return the text; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the ids as bytes, the end of text left out."""
        array = checked_ids(ids, self.vocabulary_size)
        return array[array < BYTES].astype(np.uint8).tobytes()

    def token_bytes(self) -> Ids:
        """Return one for every byte, 0 for the end of text."""
        return (np.arange(self.vocabulary_size) < BYTES).astype(np.int32)

    def unknown_symbols(self, text: str) -> list[str]:
        """None: every byte has its token."""
        return []
