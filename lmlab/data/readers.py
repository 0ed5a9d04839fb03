"""Reading the text of a source file: decompressed as a stream, decoded as UTF-8, divided into records if the format has them.

Input: a `SourceFile`. Output: chunks of text (text files) or whole documents (JSONL; parquet is read by `lmlab.data.parquet`).
Errors contain the file's name and the byte (or line) that is wrong; offsets count decompressed bytes.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lmlab import LabError
from lmlab.data.progress import Progress
from lmlab.files import require_few

CHUNK_BYTES = 1 << 18
PACKED_BYTES = 1 << 12
"""Compressed bytes read at a time: 4 KiB of pure repetition may decompress to 100 MB."""
XZ_MEMORY_BYTES = 1 << 28
"""Memory limit of an .xz file: `xz -9` makes files that need 65 MiB, and a header can claim 4 GiB."""
LONGEST_RECORD = 1 << 26
"""Longest line of JSONL, in bytes: it is read whole."""

PACKINGS = ("gz", "xz", "zst", "bz2")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class NotUTF8(LabError):
    """A file isn't valid UTF-8."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of a corpus, or one member of a zip archive."""

    name: str
    """Its name in messages and manifests: the path relative to the corpus."""
    path: Path
    member: str = ""
    """The member of the zip archive at `path`; empty: the file itself."""
    kind: str = "text"
    """text, jsonl or parquet."""
    packing: str = ""
    """gz, xz, zst, bz2, or empty if not compressed."""
    part: str = ""
    """train, valid or test if the files are the published split."""
    address: str = ""
    """Where a remote file is fetched from, range by range; `path` is then its name alone. Empty for a file on the disk."""
    remote_bytes: int = 0
    """Size of a remote file."""


def describe_name(name: str) -> tuple[str, str]:
    """Return (kind, packing) for a file's name: JSONL and parquet by their extension, everything else is text."""
    stem, _, ending = name.lower().rpartition(".")
    packing = ending if stem and ending in PACKINGS else ""
    inner = (stem if packing else name.lower()).rpartition(".")[2]
    kind = "jsonl" if inner in ("jsonl", "ndjson") else "parquet" if inner in ("parquet", "pq") else "text"
    return kind, packing


def text_chunks(file: SourceFile, progress: Progress) -> Iterator[str]:
    """Yield the text of a text file in chunks of about CHUNK_BYTES; a byte order mark at its start is dropped."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    fed = 0
    with opened(file, progress) as stream:
        while True:
            block = read_block(stream, file, CHUNK_BYTES)
            if fed == 0 and block.startswith(BYTE_ORDER_MARK):
                fed, block = len(BYTE_ORDER_MARK), block[len(BYTE_ORDER_MARK) :]
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise _not_utf8(file, fed - pending + error.start, error) from None
            fed += len(block)
            if text:
                yield text
            if not block:
                return


def jsonl_documents(file: SourceFile, column: str, progress: Progress) -> Iterator[str]:
    """Yield the text in `column` of each line; blank lines are skipped, null is an empty text."""
    offset = 0
    with opened(file, progress) as stream:
        number = 0
        while True:
            try:
                line = stream.readline(LONGEST_RECORD + 1)
            except DAMAGE as error:
                raise _damaged(file, error) from None
            if not line:
                return
            number += 1
            if len(line) > LONGEST_RECORD:
                raise LabError(
                    f"{file.name}: line {number:,} has more than {LONGEST_RECORD >> 20} MiB: expected a document a line; "
                    "cut it into several"
                )
            if line.strip():
                yield _record_text(file, line, number, offset, column)
            offset += len(line)


@contextlib.contextmanager
def opened(file: SourceFile, progress: Progress) -> Iterator[IO[bytes]]:
    """Open the decompressed bytes as a stream; `progress` advances by the bytes that are read from the disk."""
    with contextlib.ExitStack() as stack:
        try:
            if file.member:
                archive = stack.enter_context(zipfile.ZipFile(file.path))
                raw: Any = stack.enter_context(archive.open(file.member))
            else:
                raw = stack.enter_context(io.FileIO(file.path))
        except ZIP_DAMAGE as error:
            raise LabError(f"{file.name} can't be read ({first_line(error)})") from None
        watched = io.BufferedReader(_Watched(raw, progress), CHUNK_BYTES)
        yield stack.enter_context(
            io.BufferedReader(_unpacked(watched, file.packing), CHUNK_BYTES) if file.packing else watched
        )


def size_on_disk(file: SourceFile) -> int:
    """Return how far `progress` advances when the whole file is read."""
    if file.address:
        return file.remote_bytes
    if not file.member:
        return file.path.stat().st_size
    try:
        with zipfile.ZipFile(file.path) as archive:
            return archive.getinfo(file.member).file_size
    except ZIP_DAMAGE as error:
        raise LabError(f"{file.name} can't be read ({first_line(error)})") from None


class _Watched(io.RawIOBase):
    """A stream that reports how much is read from it."""

    def __init__(self, stream: Any, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self._progress.advance(len(block))
        return len(block)


def _unpacked(stream: Any, packing: str) -> Any:
    if packing == "gz":
        return gzip.GzipFile(fileobj=stream)
    if packing == "xz":
        return _Frames(stream, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES), b"\0")
    if packing == "bz2":
        return bz2.BZ2File(stream)
    try:
        import zstandard
    except ImportError:
        raise LabError('reading .zst needs the package zstandard: pip install "lmlab[zstd]"') from None
    return _Frames(stream, lambda: zstandard.ZstdDecompressor().decompressobj(), b"")


class _Frames(io.RawIOBase):
    """A decompressor of consecutive zstandard frames or xz streams, with bounded memory.

    The libraries' own readers accept a truncated .zst as complete, and give an .xz all the memory that it requests.
    """

    def __init__(self, stream: Any, unpacker: Callable[[], Any], padding: bytes) -> None:
        """`unpacker` makes the decompressor of one frame; `padding` bytes may be between frames."""
        self._stream = stream
        self._unpacker = unpacker
        self._padding = padding
        self._frame: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._stream.read(PACKED_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the data ends within a frame")
                return 0
            if self._frame is None:
                self._packed = self._packed.lstrip(self._padding) if self._padding else self._packed
                if not self._packed:
                    continue
                self._frame = self._unpacker()
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        block, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)


def _damage_types() -> tuple[type[Exception], ...]:
    kinds: list[type[Exception]] = [OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error]
    with contextlib.suppress(ImportError):
        import zstandard

        kinds.append(zstandard.ZstdError)
    return tuple(kinds)


DAMAGE = _damage_types()
"""Errors that the decompressors raise on damaged data."""
ZIP_DAMAGE = (OSError, EOFError, KeyError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile)
"""Errors that zipfile raises on a damaged archive, or on one of an unsupported kind (NotImplementedError is a RuntimeError)."""


def read_block(stream: IO[bytes], file: SourceFile, most: int) -> bytes:
    """Return at most `most` bytes; raises LabError for damaged data."""
    try:
        return stream.read(most)
    except DAMAGE as error:
        raise _damaged(file, error) from None


def _damaged(file: SourceFile, error: Exception) -> LabError:
    form = f".{file.packing}" if file.packing else ".zip" if file.member else "readable"
    return LabError(f"{file.name} is damaged or cut short ({first_line(error)}): expected an intact {form} file")


def _not_utf8(file: SourceFile, offset: int, error: UnicodeDecodeError, where: str = "") -> NotUTF8:
    unpacked = " of the unpacked text" if file.packing or file.member else ""
    value = error.object[error.start]
    return NotUTF8(
        f"{file.name} is not UTF-8: byte {offset:,}{unpacked}{where} is 0x{value:02x} ({error.reason}); "
        "convert the file to UTF-8 (iconv -f ENCODING -t UTF-8) and try again"
    )


def _record_text(file: SourceFile, line: bytes, number: int, offset: int, column: str) -> str:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(file, offset + error.start, error, f" (line {number:,})") from None
    try:
        require_few(line)
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = (
            error.msg
            if isinstance(error, json.JSONDecodeError)
            else "nested too deeply, too many values, or a number of thousands of digits"
        )
        raise LabError(
            f"{file.name}: line {number:,} (byte {offset:,}) is not JSON ({detail}): expected one object a line"
        ) from None
    if not isinstance(record, dict):
        raise LabError(f"{file.name}: line {number:,} is not a JSON object: expected one with a text in '{column}'")
    if column not in record:
        raise LabError(
            f"{file.name}: line {number:,} has no '{column}' but {names_of(record)}: expected --data.column to name one of these"
        )
    return clean_text(file, record[column], f"line {number:,}", column)


def clean_text(file: SourceFile, value: Any, place: str, column: str) -> str:
    """Return the text of a record's field, null as an empty text; raises LabError for any other value, and for invalid Unicode."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LabError(
            f"{file.name}: '{column}' in {place} is {type(value).__name__}: expected text; --data.column names another"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise LabError(
            f"{file.name}: '{column}' in {place} has half a surrogate pair at character {error.start:,}: expected text"
        ) from None
    return value


def names_of(record: dict[str, Any]) -> str:
    """Return a record's field names for a message."""
    names = [f"'{name}'" for name in list(record)[:8]]
    return ", ".join(names) + (", ..." if len(record) > 8 else "") if names else "no fields"


def first_line(error: BaseException) -> str:
    """Return the first line of an error, or its kind if it has no text."""
    return (str(error) or type(error).__name__).splitlines()[0]
