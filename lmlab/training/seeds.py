"""Seeds as pure functions of where the training is, so that no generator's state has to be saved."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from a tuple of numbers and words, through SHA-256: near tuples give unrelated seeds."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def dropout_seed(seed: int, step: int, first_sequence: int) -> int:
    """The seed of one micro-batch's dropout masks.

    `first_sequence` is the place in the global batch of the micro-batch's first sequence, so that ranks and micro-batches
    draw different masks and a resumed step the same ones.
    """
    return derived_seed("dropout", seed, step, first_sequence)
