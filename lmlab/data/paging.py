"""Reading windows anywhere in a token file that is larger than memory, without waiting for the disk.

A memory map reads whole neighbourhoods of a page that is touched (512 KiB and more), which suits a file that is read in order or
fits memory. Windows of 512 bytes at random places of a file that doesn't fit would read a thousand times what they need. So such a
map is marked as read at random, and the pages of the next batch, which is a function of its cursor, are requested while the
present one is computed (madvise(2): MADV_RANDOM, MADV_WILLNEED).
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.data.fresh import TrainingTokens
from lmlab.hardware.memory import total_memory_bytes

SHARE_OF_MEMORY = 0.5
"""A file that is larger than this share of memory isn't expected to stay in it beside the training."""


class RandomReads:
    """The memory map of a training split that is read at random places."""

    def __init__(self, tokens: NDArray[np.integer], mapped: mmap.mmap) -> None:
        """`tokens` lie in `mapped`; the map is marked from here on."""
        self._mapped = mapped
        self._width = tokens.itemsize
        self._begin = _address(tokens) - _address(np.frombuffer(mapped, np.uint8))
        mapped.madvise(mmap.MADV_RANDOM)

    def expect(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Request the pages of the tokens [start, end) of each range from the disk; return at once."""
        first = (self._begin + starts * self._width) // mmap.PAGESIZE * mmap.PAGESIZE
        length = self._begin + ends * self._width - first
        for begin, size in zip(first.tolist(), length.tolist(), strict=True):
            if size > 0:
                self._mapped.madvise(mmap.MADV_WILLNEED, begin, size)


def random_reads(tokens: TrainingTokens, memory: int | None = None) -> RandomReads | None:
    """Return how to request the pages of a training split, or None where it fits `memory` bytes (None: this machine's), isn't a
    memory map, or the system has no madvise.
    """
    split: Any = tokens if isinstance(tokens, np.ndarray) else tokens.tokens
    mapped = getattr(split, "_mmap", None)
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return None
    if split.nbytes <= SHARE_OF_MEMORY * (total_memory_bytes() if memory is None else memory):
        return None
    return RandomReads(split, mapped)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
