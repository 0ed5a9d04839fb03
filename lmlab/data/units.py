"""The units that losses are compared by: a document, or a block of 1,024 bytes if a split has few documents.

A unit has the SHA-256 of its text (by which runs on the same text match units), its bytes and the first
token that belongs to it. A token belongs to the unit of its first byte; end-of-text tokens have no bytes and belong to
the text before them. Blocks require the bytes of each token, so tokenizers that lose text have documents
only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from lmlab.data.tokenizers import Tokenizer

UNIT = np.dtype([("key", "V32"), ("bytes", "<i8"), ("start", "<i8")])
BLOCK_BYTES = 1024
FEWEST_DOCUMENTS = 200
TOKENS_A_TIME = 1 << 18


def wants_blocks(documents: int, tokenizer: Tokenizer) -> bool:
    """Return whether a split of `documents` documents is compared by blocks of bytes."""
    return documents < FEWEST_DOCUMENTS and tokenizer.lossless and tokenizer.token_bytes() is not None


def document_units(keys: np.ndarray, sizes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return UNIT rows for documents with these SHA-256s, bytes and first tokens."""
    units = np.empty(len(starts), UNIT)
    units["key"], units["bytes"], units["start"] = keys, sizes, starts
    return units


def block_units(tokens: np.ndarray, starts: np.ndarray, tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """Yield UNIT rows for the 1,024-byte blocks of each document (the last one is shorter), in arrays.

    `tokens` is the whole split, `starts` int64 [documents + 1]. A block without a token's first byte has the same start
    as the next.
    """
    lengths = tokenizer.token_bytes()
    assert lengths is not None
    for document in range(len(starts) - 1):
        yield from _blocks_of(tokens, int(starts[document]), int(starts[document + 1]), lengths, tokenizer)


def _blocks_of(
    tokens: np.ndarray, begin: int, end: int, lengths: np.ndarray, tokenizer: Tokenizer
) -> Iterator[np.ndarray]:
    """Yield the rows of one document, some tokens at a time; the bytes of an unfinished block are carried over."""
    held, held_start = b"", begin
    passed = 0  # bytes of this document before `first`
    for first in range(begin, end, TOKENS_A_TIME):
        ids = np.asarray(tokens[first : min(first + TOKENS_A_TIME, end)]).astype(np.int64)
        sizes = lengths[ids].astype(np.int64)
        after = passed + np.cumsum(sizes)
        offsets = after - sizes
        held += tokenizer.decode_bytes(ids[sizes > 0])  # without the end of text, which is no part of it
        whole = len(held) // BLOCK_BYTES
        first_block = (passed + int(sizes.sum()) - len(held)) // BLOCK_BYTES
        # the first token whose first byte is at or beyond each border between blocks
        borders = (np.arange(1, whole + 1) + first_block) * BLOCK_BYTES
        found = first + np.searchsorted(offsets, borders, side="left")
        passed = int(after[-1])
        if whole:
            begins = np.concatenate([[held_start], found[:-1]])
            yield _rows([held[BLOCK_BYTES * index : BLOCK_BYTES * (index + 1)] for index in range(whole)], begins)
            held, held_start = held[BLOCK_BYTES * whole :], int(found[-1])
    if held:
        yield _rows([held], np.array([held_start]))


def _rows(blocks: list[bytes], begins: np.ndarray) -> np.ndarray:
    rows = np.empty(len(blocks), UNIT)
    rows["key"] = np.array([hashlib.sha256(block).digest() for block in blocks], dtype="V32")
    rows["bytes"] = [len(block) for block in blocks]
    rows["start"] = begins
    return rows
