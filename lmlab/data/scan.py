"""The first pass over a corpus: a row for each document, and the alphabet. Cached, so that it's computed once per source.

A row is the SHA-256 of the document's text (UTF-8), its bytes and characters and its part of the published split. The
rows are in a memory-mapped file: two million documents are 98 MB on the disk and nearly nothing in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data.documents import Piece, ReadingFindings, pieces
from lmlab.data.progress import Progress
from lmlab.data.readers import size_on_disk
from lmlab.data.sources import Source
from lmlab.files import (
    DISK,
    BlockWriter,
    FileLock,
    make_folder,
    new_file,
    read_json,
    remove_dead,
    temporary_folder,
    write_json,
)

FORMAT = 1
DRAFT = ".scanned-"
DOCUMENT = np.dtype([("key", "V32"), ("bytes", "<i8"), ("characters", "<i8"), ("part", "u1")])
PARTS = ("", "train", "valid", "test")
COUNTS = ("documents", "characters", "bytes", "empty_documents", "short_documents", "forced_cuts", "skipped_bytes")
ROWS_HELD = 4096
ROWS_A_TIME = 1 << 18
"""Rows processed at once where the whole table may not fit in memory."""

NAMED_FILES = 5
"""Number of files that a message names."""
NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The result of a scan."""

    rows: np.ndarray
    """DOCUMENT rows, in the order of the corpus (memory-mapped, read-only)."""
    text_sha256: str
    """Hash over the documents' hashes and parts: equal for the same text, however it's compressed or divided into files."""
    documents: int
    characters: int
    bytes: int
    alphabet: str
    """Every character in the corpus, sorted by code point."""
    empty_documents: int
    short_documents: int
    forced_cuts: int
    skipped_files: tuple[str, ...]
    """Files skipped because they aren't UTF-8."""
    skipped_bytes: int
    """Size of these files on the disk."""


def scan(source: Source, column: str, root: Path, progress: Progress) -> Scan:
    """Return the corpus's scan, from the cache if it exists; raises LabError for a corpus without text."""
    # Settings added later are in the key only if they differ from their defaults, so that older scans are found.
    later: list[int | str] = [source.minimum_words] if source.minimum_words else []
    later += [source.newlines] if source.newlines != "keep" else []
    key = json.dumps([FORMAT, source.fingerprint(), source.rule, column, *later])
    folder = root / "scans" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not (folder / "scan.json").exists():
        waiting = f"another process is reading {source.name}: waiting for it"
        with FileLock(root / "locks" / f"{folder.name}.lock", progress.say, waiting):
            if not (folder / "scan.json").exists():
                _make(source, column, folder, progress)
    found = _open(folder)
    if found.documents == 0:
        raise no_text(source, found.skipped_files, found.skipped_bytes)
    return found


def no_text(source: Source, skipped: Sequence[str], size: int) -> LabError:
    """Return the error for a corpus without a document, some of whose files may have been skipped."""
    passed = "".join(f" ({note})" for note in skipped_notes(skipped, size))
    return LabError(
        f"{source.title} contains no text{passed}: expected at least one document that is more than white space"
    )


def skipped_notes(names: Sequence[str], size: int | None) -> Iterator[str]:
    """Yield a note on skipped files of `size` bytes in total (None: unknown); nothing if there are none."""
    if names:
        bytes_ = "" if size is None else f" ({size:,} bytes)"
        count = f"{len(names):,} files{bytes_} are" if len(names) > 1 else f"1 file{bytes_} is"
        more = "" if len(names) <= NAMED_FILES else f" and {len(names) - NAMED_FILES:,} more"
        yield f"{count} not UTF-8 text and passed over: {', '.join(names[:NAMED_FILES])}{more}"


def source_pieces(
    source: Source, column: str, task: str, progress: Progress, findings: ReadingFindings | None = None
) -> Iterator[Piece]:
    """Return an iterator over the pieces of the corpus in one pass, shown as `task`."""
    progress.begin(task, sum(map(size_on_disk, source.files)))
    return pieces(
        source.files,
        source.rule,
        column,
        progress,
        findings or ReadingFindings(),
        source.skip_undecodable,
        source.minimum_words,
        source.newlines,
    )


def _make(source: Source, column: str, folder: Path, progress: Progress) -> None:
    place = make_folder(folder.parent)
    remove_dead(place, DRAFT)
    with temporary_folder(place, DRAFT) as work:
        facts = _write_rows(source, column, work.path / "documents.bin", progress)
        write_json(work.path / "scan.json", facts)
        work.release()
        try:
            DISK.rename(work.path, folder)
        except OSError:
            if not (folder / "scan.json").exists():  # another machine may have made the same, if locks aren't shared
                raise
    DISK.flush_folder(place)


def _write_rows(source: Source, column: str, path: Path, progress: Progress) -> dict[str, Any]:
    findings, alphabet, over_all = ReadingFindings(), _Alphabet(), hashlib.sha256()
    totals = {"documents": 0, "characters": 0, "bytes": 0}
    with new_file(path) as file:
        held: list[tuple[Any, ...]] = []
        for row in _rows(source_pieces(source, column, f"reading {source.name}", progress, findings), alphabet):
            held.append(row)
            over_all.update(row[0] + bytes([row[3]]))
            totals["documents"] += 1
            totals["bytes"] += row[1]
            totals["characters"] += row[2]
            if len(held) == ROWS_HELD:
                _flush(held, file)
        _flush(held, file)
    return {
        "format": FORMAT,
        **totals,
        "text_sha256": over_all.hexdigest(),
        "alphabet": alphabet.text(),
        "empty_documents": findings.empty_documents,
        "short_documents": findings.short_documents,
        "forced_cuts": findings.forced_cuts,
        "skipped_files": findings.skipped_files,
        "skipped_bytes": findings.skipped_bytes,
    }


def _rows(stream: Iterator[Piece], alphabet: _Alphabet) -> Iterator[tuple[Any, ...]]:
    digest, size, characters = hashlib.sha256(), 0, 0
    for piece in stream:
        encoded = piece.text.encode()
        alphabet.add(piece.text, encoded)
        digest.update(encoded)
        size += len(encoded)
        characters += len(piece.text)
        if piece.last:
            yield digest.digest(), size, characters, PARTS.index(piece.part)
            digest, size, characters = hashlib.sha256(), 0, 0


def _flush(held: list[tuple[Any, ...]], file: BlockWriter) -> None:
    file.write(np.array(held, dtype=DOCUMENT).tobytes())
    held.clear()


class _Alphabet:
    """The distinct characters so far; known ones are deleted first by a fast C routine, so that few remain to examine."""

    def __init__(self) -> None:
        self._ascii = b""
        self._others: set[str] = set()

    def add(self, text: str, encoded: bytes) -> None:
        rest = encoded.translate(None, self._ascii)
        if rest:
            self._ascii = bytes(sorted({byte for byte in set(rest) if byte < 128} | set(self._ascii)))
            self._others.update("".join(NOT_ASCII.findall(text)))

    def text(self) -> str:
        return "".join(sorted(self._ascii.decode() + "".join(self._others)))


def _open(folder: Path) -> Scan:
    facts = read_json(folder / "scan.json")
    path = folder / "documents.bin"
    try:
        facts = {"short_documents": 0, "skipped_bytes": 0, **facts}  # an older scan doesn't count them
        for name in COUNTS:
            if type(facts[name]) is not int or facts[name] < 0:
                raise ValueError(f"{name} is not a count")
        if not all(
            isinstance(text, str) for text in (facts["text_sha256"], facts["alphabet"], *facts["skipped_files"])
        ):
            raise ValueError("a text is missing")
        count = facts["documents"]
        if path.stat().st_size != count * DOCUMENT.itemsize:
            raise ValueError("documents.bin has another size")
        rows = np.memmap(path, dtype=DOCUMENT, mode="r", shape=(count,)) if count else np.empty(0, DOCUMENT)
        return Scan(
            rows=rows,
            text_sha256=facts["text_sha256"],
            documents=count,
            characters=facts["characters"],
            bytes=facts["bytes"],
            alphabet=facts["alphabet"],
            empty_documents=facts["empty_documents"],
            short_documents=facts["short_documents"],
            forced_cuts=facts["forced_cuts"],
            skipped_files=tuple(facts["skipped_files"]),
            skipped_bytes=facts["skipped_bytes"],
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LabError(f"{folder} is damaged ({error}): delete it, and it will be made again") from None
