"""Long files, written in large blocks through a `Storage`, so that tests can make each operation fail."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from lmlab.files.storage import DISK, Storage

BLOCK = 1 << 20


class BlockWriter:
    """A buffer for an open file that passes data to the system in blocks of at least `BLOCK` bytes."""

    def __init__(self, file: FileIO, storage: Storage = DISK) -> None:
        self._file, self._storage = file, storage
        self._held = bytearray()

    def write(self, content: Any) -> None:
        """Add bytes, or the bytes of a plain array's buffer."""
        view = memoryview(content)
        if view.nbytes < BLOCK:
            self._held += view
            if len(self._held) >= BLOCK:
                self.hand_over()
        else:  # without a copy
            self.hand_over()
            self._storage.write(self._file, view.cast("B"))

    def hand_over(self) -> None:
        """Write the buffered bytes to the system; a power failure may still lose them."""
        if self._held:
            self._storage.write(self._file, memoryview(self._held))
            self._held = bytearray()

    def flush(self) -> None:
        """Write everything and return when it is on the disk."""
        self.hand_over()
        self._storage.flush(self._file)


@contextlib.contextmanager
def new_file(path: Path, storage: Storage = DISK) -> Iterator[BlockWriter]:
    """Write a new file, replacing one that a killed process left; when the `with` block ends, its bytes are on the disk.

    Its directory entry may not be: the caller flushes the folder.
    """
    if os.path.lexists(path):
        storage.remove(path)
    with storage.open(path) as file:
        writer = BlockWriter(file, storage)
        yield writer
        writer.flush()
