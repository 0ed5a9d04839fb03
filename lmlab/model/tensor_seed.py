"""The seed of one tensor."""

from __future__ import annotations

import hashlib


def tensor_seed(seed: int, name: str) -> int:
    """Return the seed of one tensor: 64 bits of the SHA-256 of seed and name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little")
