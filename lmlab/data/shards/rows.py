"""The rows of a corpus of shards, in order, from any place on: where a budget or a kill has ended, reading goes on.

A place is a shard, a row group in it and a row in that: of parquet a row group is read (or fetched) at a time, so that going on
costs the row group alone. JSONL has one row group, whose rows are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lmlab import LabError
from lmlab.data.cache import file_hashes
from lmlab.data.parquet import group_rows, parquet_table
from lmlab.data.progress import Progress, Silent
from lmlab.data.readers import SourceFile, jsonl_documents, size_on_disk
from lmlab.data.shards.footer import footer_sha256, read_footer
from lmlab.data.shards.http import RemoteFile
from lmlab.data.shards.remote import BUFFER_BYTES, LARGEST_CHUNK, RangeReader, chunk_of, groups_ahead, open_remote

ROWS_A_TIME = 256
SAID_BYTES = 2_000_000_000
"""Hashing a file from this size on is reported, since it takes seconds."""


class Place(NamedTuple):
    """The first row that belongs to no document yet."""

    shard: int = 0
    group: int = 0
    row: int = 0


class Rows(NamedTuple):
    """Consecutive rows of one row group."""

    place: Place
    """Of the first of them."""
    texts: list[str]


class ShardMark(NamedTuple):
    """What identifies a shard: by it a shard that changed since is noticed."""

    name: str
    bytes: int
    sha256: str
    """Of a parquet file's footer, else of the whole file."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return self._asdict()


@dataclass(kw_only=True)
class Shards:
    """The files of a corpus, read one after the other."""

    files: tuple[SourceFile, ...]
    column: str
    key: str
    """The corpus in the cache of hashes."""
    root: Path
    progress: Progress
    known: dict[int, ShardMark]
    """The marks that shards had when they were read before; one that differs now raises LabError."""
    fetched_bytes: int = 0
    """Bytes that have arrived over the network."""

    def __post_init__(self) -> None:
        self.marks: dict[int, ShardMark] = {}

    def rows_from(self, place: Place, rows_wanted: Callable[[], float]) -> Iterator[Rows]:
        """Yield all rows from `place` on. `rows_wanted()`: how many more rows will be needed about; hardly more are fetched."""
        for number in range(place.shard, len(self.files)):
            start = place if number == place.shard else Place(number)
            read = self._remote_rows if self.files[number].address else self._local_rows
            yield from read(start, rows_wanted)

    def mark_of(self, number: int) -> ShardMark:
        """Return the mark of a shard on the disk, or the one that was taken when a remote shard was opened."""
        if number not in self.marks and self.files[number].address:
            return self.known[number]
        if number not in self.marks:
            size = size_on_disk(self.files[number])
            if not is_parquet(self.files[number].name) and size > SAID_BYTES:
                self.progress.say(f"hashing {self.files[number].name} ({size / 1e9:,.1f} GB)")
            self._note(number, local_mark(self.files[number], self.key, self.root))
        return self.marks[number]

    def _note(self, number: int, mark: ShardMark) -> None:
        known = self.known.get(number)
        if known is not None and known != mark:
            raise LabError(
                f"{mark.name} changed since a part of it was prepared (its {'footer' if is_parquet(mark.name) else 'content'} has "
                f"another SHA-256): put the old file back, or remove what was prepared of it (lmlab data rm)"
            )
        self.marks[number] = mark

    def _local_rows(self, start: Place, rows_wanted: Callable[[], float]) -> Iterator[Rows]:
        file = self.files[start.shard]
        self.mark_of(start.shard)
        if file.kind == "jsonl":
            yield from _jsonl_rows(file, self.column, start)
            return
        with parquet_table(file, self.column) as table:
            for group in range(start.group, table.num_row_groups):
                yield from _rows_of_group(file, table, self.column, Place(start.shard, group), start)

    def _remote_rows(self, start: Place, rows_wanted: Callable[[], float]) -> Iterator[Rows]:
        file = self.files[start.shard]
        remote = RemoteFile(address=file.address, name=file.name, size=file.remote_bytes, progress=self.progress)
        before = self.fetched_bytes
        reader, footer, metadata = open_remote(remote)
        self._note(start.shard, ShardMark(file.name, file.remote_bytes, footer_sha256(footer)))
        with parquet_table(file, self.column, reader, metadata=metadata) as table:
            for group in groups_ahead(remote, reader, table.metadata, self.column, start.group, rows_wanted):
                self.fetched_bytes = before + remote.fetched_bytes
                yield from self._rows_of_remote_group(reader, table, Place(start.shard, group), start)
        self.fetched_bytes = before + remote.fetched_bytes

    def _rows_of_remote_group(self, reader: RangeReader, table: Any, place: Place, start: Place) -> Iterator[Rows]:
        file = self.files[place.shard]
        begin, end = chunk_of(table.metadata, place.group, self.column)
        if end - begin <= LARGEST_CHUNK:
            yield from _rows_of_group(file, table, self.column, place, start)
            return
        # A buffer bounds the memory of a chunk that is read as it is needed.
        with parquet_table(file, self.column, reader, metadata=table.metadata, buffer_size=BUFFER_BYTES) as buffered:
            yield from _rows_of_group(file, buffered, self.column, place, start)


def remote_documents(file: SourceFile, column: str, progress: Progress) -> Iterator[str]:
    """Yield the text of each row of a remote file, fetched as it's needed.

    A row group is fetched by a thread, while this one waits: it can be interrupted then, which it couldn't while pyarrow waits.
    """
    shards = Shards(files=(file,), column=column, key="", root=Path(), progress=progress, known={})
    for rows in shards.rows_from(Place(), lambda: 1.0):
        yield from rows.texts


def local_mark(file: SourceFile, key: str, root: Path) -> ShardMark:
    """Return the mark of a file on the disk."""
    size = size_on_disk(file)
    if is_parquet(file.name) and not file.member:
        with open(file.path, "rb") as opened:

            def read(begin: int, end: int) -> bytes:
                opened.seek(begin)
                return opened.read(end - begin)

            return ShardMark(file.name, size, footer_sha256(read_footer(read, size, file.name)))
    return ShardMark(file.name, size, file_hashes([file.path], f"{key}/{file.name}", root)[file.path])


def is_parquet(name: str) -> bool:
    """Return whether a shard is an uncompressed parquet file, by its name."""
    return name.lower().endswith((".parquet", ".pq"))


def _rows_of_group(file: SourceFile, table: Any, column: str, place: Place, start: Place) -> Iterator[Rows]:
    """Yield a row group's rows, without those before `start` if it is that group."""
    row = 0
    skipped = start.row if place.group == start.group else 0
    for texts in group_rows(file, table, place.group, column):
        left = texts[max(0, skipped - row) :]
        if left:
            yield Rows(place._replace(row=row + len(texts) - len(left)), left)
        row += len(texts)


def _jsonl_rows(file: SourceFile, column: str, start: Place) -> Iterator[Rows]:
    records, row = jsonl_documents(file, column, Silent()), 0
    for _ in islice(records, start.row):
        row += 1
    while texts := list(islice(records, ROWS_A_TIME)):
        yield Rows(Place(start.shard, 0, row), texts)
        row += len(texts)


def marks_match(known: Sequence[ShardMark], shards: Shards) -> bool:
    """Return whether the first shards are those of the marks, without fetching anything."""
    if len(known) > len(shards.files):
        return False
    for number, mark in enumerate(known):
        file = shards.files[number]
        if (file.name, size_on_disk(file)) != (mark.name, mark.bytes):
            return False
        if not file.address and shards.mark_of(number) != mark:
            return False
    return True
