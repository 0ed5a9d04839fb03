"""The bytes of tokens, cached."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import numpy as np

from lmlab.data.tokenizers import Tokenizer

SMALL = 1024
"""Vocabularies of up to this size are decoded at once: a call for each token takes longer than generating a short text."""


class Spelling:
    """The bytes of a tokenizer's tokens. `end_of_text` is the token that ends a text and has no bytes; None if there is none."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.end_of_text = tokenizer.end_of_text
        # A weak reference, because `spelling_of` keeps this object as long as the tokenizer lives.
        self._tokenizer = weakref.proxy(tokenizer)
        self._known: dict[int, bytes] = {}
        lengths = tokenizer.token_bytes() if tokenizer.vocabulary_size <= SMALL else None
        if lengths is not None:
            whole = tokenizer.decode_bytes(np.arange(tokenizer.vocabulary_size))
            ends = lengths.cumsum().tolist()
            starts = [0, *ends]
            self._known = {token: whole[starts[token] : end] for token, end in enumerate(ends)}

    def bytes_of(self, tokens: Iterable[int]) -> bytes:
        """Return the tokens' bytes, joined."""
        known = self._known
        return b"".join([known[token] if token in known else self._learn(token) for token in tokens])

    def _learn(self, token: int) -> bytes:
        self._known[token] = self._tokenizer.decode_bytes([token])
        return self._known[token]


def spelling_of(tokenizer: Tokenizer) -> Spelling:
    """Return the tokenizer's `Spelling`, created on first use."""
    known = _spellings.get(tokenizer)
    if known is None:
        known = _spellings[tokenizer] = Spelling(tokenizer)
    return known


_spellings: weakref.WeakKeyDictionary[Tokenizer, Spelling] = weakref.WeakKeyDictionary()
