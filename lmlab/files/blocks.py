"""Long files, written in large blocks by the operations of a `Storage`, so that tests can make each of them fail."""

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
    """Collects what is written to an open file, and hands it to the system `BLOCK` bytes or more at a time."""

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
        """Hand to the system what is held; a power cut may still take it."""
        if self._held:
            self._storage.write(self._file, memoryview(self._held))
            self._held = bytearray()

    def flush(self) -> None:
        """Return when everything written is on the disk."""
        self.hand_over()
        self._storage.flush(self._file)


@contextlib.contextmanager
def new_file(path: Path, storage: Storage = DISK) -> Iterator[BlockWriter]:
    """Write a new file in place of what a killed predecessor left; when the `with` ends, its bytes are on the disk.

    Its name may not be: that is in the folder, which the caller flushes.
    """
    if os.path.lexists(path):
        storage.remove(path)
    with storage.open(path) as file:
        writer = BlockWriter(file, storage)
        yield writer
        writer.flush()
