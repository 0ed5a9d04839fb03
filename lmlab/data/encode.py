"""Encoding documents to token files, in batches on all cores; a kill at any time loses at most one shard of work.

The work folder holds `tokens-<split>.bin` and `starts-<split>.bin` (the first token of each document), which only grow.
After each shard they are flushed to the disk, and then `journal.json` stores their lengths and the number of pieces of the
corpus in them; a process that continues truncates them to these lengths, skips these pieces and goes on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmlab import LabError
from lmlab.data.documents import Piece
from lmlab.data.split import SPLITS, SplitPlan
from lmlab.data.tokenizers import Tokenizer
from lmlab.files import DISK, BlockWriter, read_json, require_free_bytes, write_json

BATCH_CHARACTERS = 1 << 20
BATCH_PIECES = 4096
SHARD_CHARACTERS = 1 << 25
JOURNAL = "journal.json"
LARGEST_JOURNAL = 1 << 16
START_BYTES = 8


class EncodingItem(NamedTuple):
    """An input of the tokenizer: a piece of one document in one split."""

    text: str
    split: int
    first: bool
    """Whether the document (or its part in this split) begins here."""
    last: bool
    """Whether the document ends here, so that an end-of-text token may follow."""


class Marks(NamedTuple):
    """The tokens before and after each document; None for none."""

    begin: int | None
    end: int | None


@dataclass
class EncodingJournal:
    """The progress of the files."""

    pieces: int = 0
    characters: int = 0
    tokens: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    documents: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    done: bool = False


def token_type(vocabulary_size: int) -> np.dtype:
    """Return the smallest of uint16 and uint32 that holds every id, little-endian."""
    return np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")


def tokens_file(split: str) -> str:
    """Return the name of a split's token file."""
    return f"tokens-{split}.bin"


def starts_file(split: str) -> str:
    """Return the name of the file with the first token of each document, used while the data set is being built."""
    return f"starts-{split}.bin"


def encode(
    stream: Iterator[Piece], plan: SplitPlan, tokenizer: Tokenizer, marks: Marks, characters: int, work: Path
) -> EncodingJournal:
    """Write the token files of all splits into `work`, continuing from the journal there; return the final journal.

    `marks` are put before and after each document. `characters`: number of characters in the whole corpus.
    """
    journal = read_journal(work)
    if journal.done:
        return journal
    with _Files(work, token_type(tokenizer.vocabulary_size), journal) as files:
        for batch in _batches(_skip(stream, plan, journal.pieces)):
            arrays = tokenizer.encode_batch([item.text for item in batch.items])
            files.append(batch.items, arrays, marks)
            journal.pieces += batch.pieces
            journal.characters += batch.characters
            if journal.characters // SHARD_CHARACTERS > (journal.characters - batch.characters) // SHARD_CHARACTERS:
                files.save()
                _require_disk_space(work, files, journal, characters)
        journal.done = True
        files.save()
    return journal


def read_journal(work: Path) -> EncodingJournal:
    """Return the progress of an earlier attempt; zeros if it left no journal."""
    if not (work / JOURNAL).exists():
        return EncodingJournal()
    value = read_json(work / JOURNAL, LARGEST_JOURNAL)
    if not isinstance(value, dict) or not _describes_files(value):
        raise LabError(f"{work / JOURNAL} is damaged: delete {work} and prepare again")
    return EncodingJournal(**value)


def _describes_files(value: dict[str, Any]) -> bool:
    counts = [value.get("pieces"), value.get("characters")]
    for name in ("tokens", "documents"):
        listed = value.get(name)
        counts += listed if isinstance(listed, list) and len(listed) == len(SPLITS) else [None]
    fits = all(type(count) is int and 0 <= count < 1 << 60 for count in counts)
    return fits and value.keys() == vars(EncodingJournal()).keys() and isinstance(value["done"], bool)


class _Batch(NamedTuple):
    items: list[EncodingItem]
    pieces: int
    characters: int


class _Files:
    """The growing token and start files of every split, and their journal."""

    def __init__(self, work: Path, kind: np.dtype, journal: EncodingJournal) -> None:
        self._work, self._kind, self._journal = work, kind, journal
        with contextlib.ExitStack() as stack:
            self._tokens = [
                stack.enter_context(self._open(tokens_file(split), journal.tokens[index] * kind.itemsize))
                for index, split in enumerate(SPLITS)
            ]
            self._starts = [
                stack.enter_context(self._open(starts_file(split), journal.documents[index] * START_BYTES))
                for index, split in enumerate(SPLITS)
            ]
            DISK.flush_folder(work)  # the journal never refers to a file whose directory entry could be lost
            self._opened = stack.pop_all()

    @contextlib.contextmanager
    def _open(self, name: str, length: int) -> Iterator[BlockWriter]:
        path = self._work / name
        with DISK.open(path, "ab") as file:
            if os.fstat(file.fileno()).st_size < length:
                raise LabError(f"{path} is shorter than its journal states: delete {self._work} and prepare again")
            DISK.truncate(file, length)
            yield BlockWriter(file)

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    @property
    def bytes_written(self) -> int:
        return sum(self._journal.tokens) * self._kind.itemsize

    def append(self, items: list[EncodingItem], arrays: list[np.ndarray], marks: Marks) -> None:
        """Append a batch, in the order of its items."""
        begin, end = (np.array([] if mark is None else [mark], dtype=self._kind) for mark in marks)
        written: list[list[np.ndarray]] = [[] for _ in SPLITS]
        starts: list[list[int]] = [[] for _ in SPLITS]
        for item, ids in zip(items, arrays, strict=True):
            if item.first:
                starts[item.split].append(self._journal.tokens[item.split])
            parts = [*([begin] if item.first else []), ids.astype(self._kind), *([end] if item.last else [])]
            written[item.split] += parts
            self._journal.tokens[item.split] += sum(map(len, parts))
        for index in range(len(SPLITS)):
            for array in written[index]:
                self._tokens[index].write(array.data)
            self._starts[index].write(np.array(starts[index], dtype="<i8").tobytes())
            self._journal.documents[index] += len(starts[index])

    def save(self) -> None:
        """Flush the files and then write the journal, so that it never refers to bytes that aren't on the disk."""
        for file in (*self._tokens, *self._starts):
            file.flush()
        write_json(self._work / JOURNAL, vars(self._journal))


def _skip(stream: Iterator[Piece], plan: SplitPlan, done: int) -> Iterator[tuple[list[EncodingItem], int]]:
    """Yield for each piece that isn't done yet its items (two if the split's border cuts it) and its number of characters."""
    document, at, first = 0, 0, True
    for number, piece in enumerate(stream):
        if number >= done:
            yield _items(piece, plan, document, at, first), len(piece.text)
        at += len(piece.text)
        first = False
        if piece.last:
            document, at, first = document + 1, 0, True


def _items(piece: Piece, plan: SplitPlan, document: int, at: int, first: bool) -> list[EncodingItem]:
    if document != plan.cut_document:
        return [EncodingItem(piece.text, int(plan.of[document]), first, piece.last)]
    border = plan.cut_characters - at
    if border <= 0:
        return [EncodingItem(piece.text, 1, border == 0, piece.last)]
    if border >= len(piece.text):
        return [EncodingItem(piece.text, 0, first, False)]
    return [EncodingItem(piece.text[:border], 0, first, False), EncodingItem(piece.text[border:], 1, True, piece.last)]


def _batches(stream: Iterator[tuple[list[EncodingItem], int]]) -> Iterator[_Batch]:
    items: list[EncodingItem] = []
    count = characters = 0
    for found, length in stream:
        items += found
        count += 1
        characters += length
        if characters >= BATCH_CHARACTERS or count >= BATCH_PIECES:
            yield _Batch(items, count, characters)
            items, count, characters = [], 0, 0
    if items:
        yield _Batch(items, count, characters)


def _require_disk_space(work: Path, files: _Files, journal: EncodingJournal, characters: int) -> None:
    """Raise StorageError unless the disk has space for the remaining bytes, estimated from those written so far."""
    if journal.characters < characters:
        needed = int(files.bytes_written / journal.characters * (characters - journal.characters))
        require_free_bytes(work, needed, "preparing the data set")
