"""Seeds as pure functions of the position in the training, so that no generator state has to be saved."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int | str) -> int:
    """Return a 63-bit seed from numbers and strings, through SHA-256: similar arguments give unrelated seeds."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def dropout_seed(seed: int, step: int, first_sequence: int) -> int:
    """Return the seed of one micro-batch's dropout masks.

    `first_sequence` is the index in the global batch of the micro-batch's first sequence, so that ranks and micro-batches
    draw different masks, and a resumed step draws the same ones.
    """
    return derived_seed("dropout", seed, step, first_sequence)
