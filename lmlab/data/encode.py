"""Encoding documents to token files, in batches on all cores; a kill at any time loses at most one shard of work.

After each shard the token files (`lmlab.data.token_files`) are flushed to the disk, and then `journal.json` stores their lengths
and the number of pieces of the corpus in them; a process that continues truncates them to these lengths, skips these pieces and
goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmlab import LabError
from lmlab.data.documents import Piece
from lmlab.data.in_order import in_order
from lmlab.data.split import SPLITS, SplitPlan
from lmlab.data.token_files import EncodingItem, Marks, TokenFiles, token_type
from lmlab.data.tokenizers import Tokenizer
from lmlab.files import read_json, require_free_bytes, write_json
from lmlab.hardware.cpu import logical_cores

BATCH_CHARACTERS = 1 << 17
"""Text that a thread encodes at a time: a twentieth of a second."""
BATCH_PIECES = 4096
SHARD_CHARACTERS = 1 << 25
JOURNAL = "journal.json"
LARGEST_JOURNAL = 1 << 16


@dataclass
class EncodingJournal:
    """The progress of the files."""

    pieces: int = 0
    characters: int = 0
    tokens: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    documents: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    done: bool = False


def encode(
    stream: Iterator[Piece], plan: SplitPlan, tokenizer: Tokenizer, marks: Marks, characters: int, work: Path
) -> EncodingJournal:
    """Write the token files of all splits into `work`, continuing from the journal there; return the final journal.

    `marks` are put before and after each document. `characters`: number of characters in the whole corpus.
    """
    journal = read_journal(work)
    if journal.done:
        return journal
    with TokenFiles(work, token_type(tokenizer.vocabulary_size), journal) as files:
        batches = _batches(_skip(stream, plan, journal.pieces))

        def encode_batch(batch: _Batch) -> list[np.ndarray]:
            return list(tokenizer.encode_batch([item.text for item in batch.items]))

        for batch, arrays in in_order(encode_batch, batches, encoding_threads(tokenizer)):
            files.append(batch.items, arrays, marks)
            journal.pieces += batch.pieces
            journal.characters += batch.characters
            if journal.characters // SHARD_CHARACTERS > (journal.characters - batch.characters) // SHARD_CHARACTERS:
                save_journal(work, files, journal)
                _require_disk_space(work, files, journal, characters)
        journal.done = True
        save_journal(work, files, journal)
    return journal


def encoding_threads(tokenizer: Tokenizer) -> int:
    """Return in how many threads `tokenizer` encodes; what they share is made now."""
    tokenizer.encode("")
    return logical_cores() if getattr(tokenizer, "encodes_in_threads", False) else 1


def save_journal(work: Path, files: TokenFiles, journal: EncodingJournal) -> None:
    """Flush the files and then write the journal, so that it never refers to bytes that aren't on the disk."""
    files.flush()
    write_json(work / JOURNAL, vars(journal))


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


def _require_disk_space(work: Path, files: TokenFiles, journal: EncodingJournal, characters: int) -> None:
    """Raise StorageError unless the disk has space for the remaining bytes, estimated from those written so far."""
    if journal.characters < characters:
        needed = int(files.bytes_written / journal.characters * (characters - journal.characters))
        require_free_bytes(work, needed, "preparing the data set")
