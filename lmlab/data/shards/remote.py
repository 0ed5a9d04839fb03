"""Remote parquet: a seekable file for pyarrow that fetches the ranges it reads, and the chunks of one column fetched ahead.

Of a shard only its footer and, row group by row group, the chunks of the text column are fetched.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lmlab.data.shards.footer import parsed_footer, read_footer
from lmlab.data.shards.http import RemoteFile

CHUNKS_AHEAD = 4
"""Chunks that are fetched at the same time."""
LARGEST_CHUNK = 1 << 26
"""Larger chunks aren't fetched whole, but as pyarrow reads them, BUFFER_BYTES at a time."""
BUFFER_BYTES = 1 << 22


class RangeReader(io.RawIOBase):
    """A seekable, read-only file whose bytes come from a remote one, unless they were put into it."""

    def __init__(self, remote: RemoteFile) -> None:
        self._remote = remote
        self._place = 0
        self._held: dict[int, bytes] = {}

    def put(self, begin: int, content: bytes) -> None:
        """Hold bytes that are read later."""
        self._held[begin] = content

    def drop(self, begin: int) -> None:
        """Forget held bytes."""
        self._held.pop(begin, None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._remote.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        begin, end = self._place, min(self._place + len(buffer), self._remote.size)
        if begin >= end:
            return 0
        content = self._bytes(begin, end)
        buffer[: len(content)] = content
        self._place = end
        return len(content)

    def _bytes(self, begin: int, end: int) -> bytes | memoryview:
        for first, held in self._held.items():
            if first <= begin and end <= first + len(held):
                return memoryview(held)[begin - first : end - first]
        return self._remote.read(begin, end)


def open_remote(remote: RemoteFile) -> tuple[RangeReader, bytes, Any]:
    """Return the file for pyarrow, its footer, which is fetched, and what it says, as pyarrow's metadata."""
    footer = read_footer(remote.read, remote.size, remote.name)
    return RangeReader(remote), footer, parsed_footer(footer, remote.name)


def chunk_of(metadata: Any, group: int, column: str) -> tuple[int, int]:
    """Return where a column's chunk of a row group begins and ends in the file, from pyarrow's metadata."""
    row_group = metadata.row_group(group)
    chunk = next(
        found
        for found in (row_group.column(index) for index in range(row_group.num_columns))
        if found.path_in_schema == column
    )
    begin = chunk.data_page_offset
    if chunk.dictionary_page_offset:
        begin = min(begin, chunk.dictionary_page_offset)
    return begin, begin + chunk.total_compressed_size


def groups_ahead(
    remote: RemoteFile,
    reader: RangeReader,
    metadata: Any,
    column: str,
    first: int,
    rows_wanted: Callable[[], float],
) -> Iterator[int]:
    """Yield the row groups from `first` on, each when its chunk of `column` is in `reader`; others are being fetched meanwhile.

    `rows_wanted()` is how many rows will be needed about, from the yielded group on: no chunk is fetched for rows beyond it.
    """
    waiting: deque[tuple[int, int, Future[bytes] | None]] = deque()
    following, rows = first, 0
    pool = ThreadPoolExecutor(CHUNKS_AHEAD)
    try:
        while following < metadata.num_row_groups or waiting:
            while (
                following < metadata.num_row_groups
                and len(waiting) < CHUNKS_AHEAD
                and (not waiting or rows < rows_wanted())
            ):
                begin, end = chunk_of(metadata, following, column)
                future = pool.submit(remote.read, begin, end) if end - begin <= LARGEST_CHUNK else None
                waiting.append((following, begin, future))
                rows += metadata.row_group(following).num_rows
                following += 1
            group, begin, future = waiting.popleft()
            if future is not None:
                reader.put(begin, future.result())
            yield group
            reader.drop(begin)
            rows -= metadata.row_group(group).num_rows
    finally:
        remote.close()
        pool.shutdown(wait=True, cancel_futures=True)
