"""A file that is hashed while it is written, and flushed when it is closed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType

from lmlab.files import DISK, Storage

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """A manifest's entry for a file."""

    sha256: str
    bytes: int


class HashedFile:
    """Context manager that writes and hashes a file: `with HashedFile(path, storage) as file: file.write(...)`, then
    `file.facts`. On leaving, the bytes are on the disk.
    """

    def __init__(self, path: Path, storage: Storage = DISK) -> None:
        self.path = path
        self._storage = storage
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._file: FileIO | None = None

    @property
    def facts(self) -> FileFacts:
        """SHA-256 and size of the bytes written so far."""
        return FileFacts(sha256=self._digest.hexdigest(), bytes=self._bytes)

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes in blocks, so that each block is hashed while it's in the processor's cache."""
        if self._file is None:
            raise ValueError(f"{self.path} is not open")
        whole = memoryview(content)
        for first in range(0, len(whole), BLOCK_BYTES):
            block = whole[first : first + BLOCK_BYTES]
            self._digest.update(block)
            self._storage.write(self._file, block)
        self._bytes += len(whole)

    def __enter__(self) -> HashedFile:
        self._file = self._storage.open(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if error is None:
                self._storage.flush(file)
        finally:
            file.close()


def write_file(path: Path, content: bytes, storage: Storage = DISK) -> FileFacts:
    """Write a whole small file; when this returns its bytes are on the disk, but its directory entry may not be."""
    with HashedFile(path, storage) as file:
        file.write(content)
    return file.facts
