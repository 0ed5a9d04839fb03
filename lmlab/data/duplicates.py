"""Text that is in both training and validation: equal documents, and for few and long documents equal lines.

Computed while a data set is prepared and stored in its manifest, because a loss on text that was trained on is no measure of
generalisation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lmlab.data.tokenizers import Tokenizer

LINE_BYTES = 40
"""Shorter lines repeat naturally ("All:", "    return None")."""
TOKENS_A_TIME = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """How much of the validation split is also in the training split."""

    documents: int
    """Validation documents with exactly the bytes of a training document."""
    of_documents: int
    tokens: int
    """Validation tokens in these documents."""
    of_tokens: int
    lines: int | None = None
    """If there are few documents: validation lines of LINE_BYTES or more that are training lines too."""
    of_lines: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the share of validation tokens in duplicates."""
        return {**asdict(self), "share_of_tokens": self.tokens / self.of_tokens if self.of_tokens else 0.0}


def shared_documents(train: Iterable[np.ndarray], valid: np.ndarray) -> np.ndarray:
    """Return bool for each validation key (V32): whether it's among the training keys, which are given in arrays.

    Training keys are filtered by their first eight bytes, so that only the few that match are kept and compared whole.
    """
    sieve = np.unique(key_words(valid)[:, 0])
    found: set[bytes] = set()
    for keys in train:
        found.update(key.tobytes() for key in keys[np.isin(key_words(keys)[:, 0], sieve)])
    return np.array([key.tobytes() in found for key in valid], dtype=bool)


def key_words(keys: np.ndarray) -> np.ndarray:
    """Return keys (V32) as uint64 [keys, 4]."""
    return np.frombuffer(np.ascontiguousarray(keys).tobytes(), dtype="<u8").reshape(-1, 4)


def shared_lines(train: Iterator[bytes], valid: Iterator[bytes]) -> tuple[int, int]:
    """Return (validation lines that are also training lines, all validation lines), of those with LINE_BYTES bytes or more.

    Only 64-bit hashes are kept: with ten million lines on each side, two unequal ones collide by chance in one of
    200,000 corpora.
    """
    wanted = Counter(map(hash, _long_lines(valid)))
    total = wanted.total()
    shared = sum(wanted.pop(key, 0) for key in map(hash, _long_lines(train))) if wanted else 0
    return shared, total


def text_of(tokens: np.ndarray, tokenizer: Tokenizer) -> Iterator[bytes]:
    """Yield the text of a split in parts, with a line break for each end of text."""
    for begin in range(0, len(tokens), TOKENS_A_TIME):
        ids = np.asarray(tokens[begin : begin + TOKENS_A_TIME]).astype(np.int64)
        if tokenizer.end_of_text is None:
            yield tokenizer.decode_bytes(ids)
            continue
        for part in np.split(ids, np.flatnonzero(ids == tokenizer.end_of_text)):
            ended = len(part) > 0 and part[0] == tokenizer.end_of_text
            yield (b"\n" if ended else b"") + tokenizer.decode_bytes(part[1:] if ended else part)


def _long_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        yield from (line for line in lines if len(line) >= LINE_BYTES)
    if len(held) >= LINE_BYTES:
        yield held
