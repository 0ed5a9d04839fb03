"""Reading a task's file: decompressed whole, as lines or as one record a line (JSONL) or row (parquet), with errors that name both.

A task's file is small (BLiMP, the largest, has 30 MB), so it is held in memory; a file that unpacks to more than LARGEST_BYTES is
refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmlab import LabError
from lmlab.data.progress import Silent
from lmlab.data.readers import DAMAGE, SourceFile, opened
from lmlab.evaluation.tasks.item import Item
from lmlab.files import parse_json

LARGEST_BYTES = 1 << 28
BLOCK = 1 << 20


class Malformed(ValueError):
    """A record isn't of the task's form; the message states what was found and what was expected."""


@dataclass(frozen=True)
class TaskFile:
    """One file of a task's data."""

    file: SourceFile

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.file.name

    def beside(self, ending: str) -> TaskFile | None:
        """Return the file in the same folder with `ending` in place of this one's extension; None if there is none."""
        path = self.file.path.with_name(self.file.path.name.partition(".")[0] + ending)
        return TaskFile(SourceFile(name=path.name, path=path)) if path.is_file() else None

    @cached_property
    def content(self) -> bytes:
        """The unpacked bytes. LabError if they can't be read, or are more than LARGEST_BYTES."""
        blocks, size = [], 0
        try:
            with opened(self.file, Silent()) as stream:
                while block := stream.read(BLOCK):
                    blocks.append(block)
                    size += len(block)
                    if size > LARGEST_BYTES:
                        raise LabError(
                            f"{self.name} has more than {LARGEST_BYTES >> 20} MiB: expected the file of a benchmark task"
                        )
        except DAMAGE as error:
            detail = (str(error) or type(error).__name__).splitlines()[0]
            raise LabError(f"{self.name} can't be read ({detail}): expected an intact file") from None
        return b"".join(blocks)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the unpacked bytes, so that a compressed copy has the same one."""
        return hashlib.sha256(self.content).hexdigest()

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield (line number from 1, text without its end) of each line. LabError if the file isn't UTF-8."""
        for number, line in enumerate(self.content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            try:
                yield number, line.decode("utf-8").removesuffix("\r")
            except UnicodeDecodeError:
                raise LabError(f"{self.name}: line {number:,} is not UTF-8: convert the file to UTF-8") from None

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (its place in words, record) of each line of JSONL that isn't blank, or row of a parquet file."""
        if self.file.kind == "parquet":
            yield from ((f"row {number:,}", row) for number, row in enumerate(self._rows(), 1))
            return
        for number, line in self.lines():
            if not line.strip():
                continue
            try:
                record = parse_json(line.encode("utf-8"))
            except ValueError as error:
                raise LabError(
                    f"{self.name}: line {number:,} is not JSON ({error}): expected one object a line"
                ) from None
            if not isinstance(record, dict):
                raise LabError(f"{self.name}: line {number:,} is not a JSON object: expected one object a line")
            yield f"line {number:,}", record

    def _rows(self) -> Iterator[dict[str, Any]]:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise LabError('reading parquet needs the package pyarrow: pip install "lmlab[parquet]"') from None
        try:
            with pyarrow.parquet.ParquetFile(pyarrow.BufferReader(self.content)) as table:
                for batch in table.iter_batches():
                    yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise LabError(
                f"{self.name} is not readable as parquet ({str(error).splitlines()[0]}): expected an intact parquet file"
            ) from None


def reader_of(convert: Callable[[dict[str, Any]], Item]) -> Callable[[TaskFile], Iterator[Item]]:
    """Return a reader of JSONL or parquet whose records `convert` turns into items; it raises Malformed for a wrong record."""

    def read(file: TaskFile) -> Iterator[Item]:
        for place, record in file.records():
            try:
                yield convert(record)
            except Malformed as error:
                raise LabError(f"{file.name}: {place} {error}") from None

    return read


def text_in(record: dict[str, Any], name: str) -> str:
    """Return the text in a field; Malformed if it is missing or no text."""
    value = record.get(name)
    if not isinstance(value, str):
        raise Malformed(f"has {_found(record, name)}: expected a text in '{name}'")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed(f"has half of a surrogate pair in '{name}': expected text") from None
    return value


def texts_in(record: dict[str, Any], name: str, least: int = 2) -> list[str]:
    """Return the list of texts in a field, at least `least`; Malformed if it is none."""
    values = record.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values) or len(values) < least:
        raise Malformed(f"has {_found(record, name)}: expected a list of {least} texts or more in '{name}'")
    return [text_in({name: value}, name) for value in values]


def index_in(record: dict[str, Any], name: str, count: int, first: int = 0) -> int:
    """Return the index, below `count`, of the right option in a field that counts from `first`; a numeral as text is accepted."""
    value = record.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 3:
        value = int(value)
    if type(value) is not int or not first <= value < first + count:
        raise Malformed(
            f"has {_found(record, name)}: expected the right option's number in '{name}', {first} to {first + count - 1}"
        )
    return value - first


def _found(record: dict[str, Any], name: str) -> str:
    """Return what a field has, for a message."""
    if name not in record:
        there = ", ".join(f"'{one[:30]}'" for one in list(record)[:8]) or "no fields"
        return f"no '{name}' but {there}"
    return f"{str(record[name])[:40]!r} in '{name}'"
