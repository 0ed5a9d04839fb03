"""Encoding the documents of shards until a token budget is reached, in one pass: every row is read, hashed and encoded once.

    rows -> documents -> batches -> ids, in threads -> token files, rows of documents -> journal

A data set for a budget of N training tokens ends with the document that holds the N-th of them, so that it is a function of the
corpus, the settings and N. `rows.bin` has a row of `lmlab.data.scan.DOCUMENT` for each document.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmlab.data.documents import ReadingFindings, pieces_of_record
from lmlab.data.encode import encoding_threads
from lmlab.data.in_order import in_order
from lmlab.data.progress import Progress
from lmlab.data.scan import DOCUMENT, PARTS, ROWS_A_TIME
from lmlab.data.shards.documents import articles, records
from lmlab.data.shards.journal import ShardsJournal, write_journal
from lmlab.data.shards.rows import Place, Shards
from lmlab.data.split import SPLITS
from lmlab.data.token_files import EncodingItem, Marks, TokenFiles, growing_file, token_type
from lmlab.data.tokenizers import Tokenizer
from lmlab.files import BlockWriter, require_free_bytes
from lmlab.recipe.data import NewlinesName

ROWS = "rows.bin"
BATCH_CHARACTERS = 1 << 17
SHARD_CHARACTERS = 1 << 25
TRAIN, VALID = SPLITS.index("train"), SPLITS.index("valid")
HASHED = np.dtype([("key", "V32"), ("part", "u1")])


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How the rows of shards become documents, and these a split."""

    rule: str
    """records or articles."""
    parts: tuple[str, ...]
    """Of each file the part of the published split; empty texts without one."""
    valid_documents: int
    """How many of the first documents validate, without a published split."""
    minimum_words: int
    newlines: NewlinesName

    def split_of(self, shard: int, number: int) -> int:
        """Return the split of document `number` of all that are kept, which is in that file: an index into SPLITS."""
        if self.parts[shard]:
            return SPLITS.index(self.parts[shard])
        return VALID if number < self.valid_documents else TRAIN


class KeptDocument(NamedTuple):
    """A document that isn't left out."""

    pieces: list[str]
    split: int
    part: int
    """An index into PARTS."""
    after: Place
    findings: ReadingFindings
    """What was left out before it, and its own forced cuts."""

    @property
    def characters(self) -> int:
        """The length of its text."""
        return sum(map(len, self.pieces))


def kept_documents(
    shards: Shards,
    settings: ShardSettings,
    place: Place,
    number: int,
    rows_wanted: Callable[[], float],
    trailing: ReadingFindings,
) -> Iterator[KeptDocument]:
    """Yield the documents from `place` on, the first of which is document `number`; `trailing` gets what is left out after the
    last one.
    """
    rows = shards.rows_from(place, rows_wanted)
    found = articles(rows, list(settings.parts)) if settings.rule == "articles" else records(rows)
    findings = ReadingFindings()
    for document in found:
        pieces = pieces_of_record(document.text, findings, settings.minimum_words, settings.newlines)
        if pieces:
            part = PARTS.index(settings.parts[document.shard])
            yield KeptDocument(pieces, settings.split_of(document.shard, number), part, document.after, findings)
            number += 1
            findings = ReadingFindings()
    trailing.empty_documents, trailing.short_documents = findings.empty_documents, findings.short_documents


class _Batch(NamedTuple):
    documents: list[KeptDocument]

    @property
    def items(self) -> list[EncodingItem]:
        return [item for document in self.documents for item in items_of(document)]


def items_of(document: KeptDocument) -> list[EncodingItem]:
    """Return the inputs of the tokenizer for a document."""
    last = len(document.pieces) - 1
    return [
        EncodingItem(text, document.split, number == 0, number == last) for number, text in enumerate(document.pieces)
    ]


class _Encoded(NamedTuple):
    arrays: list[list[np.ndarray]]
    """The ids of each document's pieces."""
    rows: list[tuple[Any, ...]]
    """Of each document, as DOCUMENT."""


class Encoding:
    """Encoding from where a journal ends."""

    def __init__(
        self,
        work: Path,
        shards: Shards,
        settings: ShardSettings,
        tokenizer: Tokenizer,
        marks: Marks,
        journal: ShardsJournal,
        budget: int | None,
        progress: Progress,
    ) -> None:
        """`journal` is what `work` holds; `budget` the training tokens to reach, None for all there are."""
        self._work, self._shards, self._settings = work, shards, settings
        self._tokenizer, self._marks, self.journal = tokenizer, marks, journal
        self._budget, self._progress = budget, progress
        self._kind = token_type(tokenizer.vocabulary_size)
        self.encoded_tokens = self.encoded_documents = 0
        """By this process, in all splits."""
        self._pulled = sum(journal.documents)
        self._pulled_characters = self._train_characters = 0

    def is_over(self) -> bool:
        """Whether nothing is left to encode."""
        return self.journal.complete or (self._budget is not None and self.journal.tokens[TRAIN] >= self._budget)

    def run(self, after_tokens: int = 0, measured: Callable[[], object] = lambda: None) -> None:
        """Encode until the budget is reached or the corpus ends; the journal is stored. Once `after_tokens` were encoded, call
        `measured`.
        """
        if self.is_over():
            return
        length, trailing = sum(self.journal.documents) * DOCUMENT.itemsize, ReadingFindings()
        with (
            TokenFiles(self._work, self._kind, self.journal) as files,
            growing_file(self._work / ROWS, length) as rows,
            contextlib.closing(self._results(trailing)) as results,
        ):
            since_saved, is_measured = 0, False
            for batch, found in results:
                self._append(batch, found, files, rows)
                since_saved += sum(row[2] for row in found.rows)
                if self.is_over():
                    break
                if not is_measured and self.encoded_tokens >= after_tokens:
                    is_measured = True
                    measured()
                if since_saved >= SHARD_CHARACTERS:
                    since_saved = 0
                    self._save(files, rows)
            else:
                self.journal.complete = True
                self.journal.empty_documents += trailing.empty_documents
                self.journal.short_documents += trailing.short_documents
            self._save(files, rows)

    def _results(self, trailing: ReadingFindings) -> Generator[tuple[_Batch, _Encoded], None, None]:
        journal = self.journal
        documents = kept_documents(
            self._shards, self._settings, journal.place, self._pulled, self._rows_wanted, trailing
        )
        threads = encoding_threads(self._tokenizer)
        return in_order(self._encode, self._batches(documents), threads, self._enough_is_pending)

    def _batches(self, documents: Iterable[KeptDocument]) -> Iterator[_Batch]:
        held: list[KeptDocument] = []
        characters = 0
        for document in documents:
            held.append(document)
            characters += document.characters
            self._pulled += 1
            self._pulled_characters += document.characters if document.split == TRAIN else 0
            if characters >= BATCH_CHARACTERS or self._enough_is_pending():
                yield _Batch(held)
                held, characters = [], 0
        if held:
            yield _Batch(held)

    def _encode(self, batch: _Batch) -> _Encoded:
        """Encode and hash a batch, in a thread of its own."""
        found = iter(self._tokenizer.encode_batch([item.text for item in batch.items]))
        arrays = [[next(found) for _ in document.pieces] for document in batch.documents]
        return _Encoded(arrays, [_row_of(document) for document in batch.documents])

    def _enough_is_pending(self) -> bool:
        """Return whether the documents that are being encoded will probably reach the budget, or are the first, which tell how many
        tokens a text has.
        """
        return self._budget is not None and (not self.journal.characters or self._missing_tokens() <= 0)

    def _missing_tokens(self) -> float:
        """Return about how many tokens the documents that were read leave to the budget."""
        if self._budget is None:
            return float("inf")
        journal = self.journal
        rate = sum(journal.tokens) / max(1, journal.characters)
        return self._budget - journal.tokens[TRAIN] - (self._pulled_characters - self._train_characters) * rate

    def _rows_wanted(self) -> float:
        """Return about how many more rows the budget takes; until documents were counted, those of validation alone."""
        if self._budget is None:
            return float("inf")
        journal = self.journal
        valid = 0 if any(self._settings.parts) else max(0, self._settings.valid_documents - self._pulled)
        rate = sum(journal.documents) / sum(journal.tokens) if sum(journal.tokens) else 0.0
        return valid + max(0.0, self._missing_tokens()) * rate

    def _append(self, batch: _Batch, found: _Encoded, files: TokenFiles, rows: BlockWriter) -> None:
        """Append documents to the files until the budget is reached, and count them."""
        journal = self.journal
        for number, document in enumerate(batch.documents):
            row, before, train = found.rows[number], sum(journal.tokens), journal.tokens[TRAIN]
            files.append(items_of(document), found.arrays[number], self._marks)
            rows.write(np.array([row], dtype=DOCUMENT).tobytes())
            self.encoded_tokens += sum(journal.tokens) - before
            self.encoded_documents += 1
            self._train_characters += row[2] if document.split == TRAIN else 0
            journal.characters += row[2]
            journal.bytes += row[1]
            journal.empty_documents += document.findings.empty_documents
            journal.short_documents += document.findings.short_documents
            journal.forced_cuts += document.findings.forced_cuts
            journal.carriage_returns = journal.carriage_returns or any("\r" in text for text in document.pieces)
            journal.place = document.after
            self._progress.advance(journal.tokens[TRAIN] - train)
            if self.is_over():
                return

    def _save(self, files: TokenFiles, rows: BlockWriter) -> None:
        """Flush the files, then store the journal, then look whether the disk has room for the next part."""
        rows.flush()
        files.flush()
        last = len(self._shards.files) - 1
        last = last if self.journal.complete else min(self.journal.place.shard, last)
        self.journal.marks = [self._shards.mark_of(number) for number in range(last + 1)]
        write_journal(self._work, self.journal)
        if not self.is_over():
            written = sum(self.journal.tokens) * self._kind.itemsize
            needed = SHARD_CHARACTERS * written // max(1, self.journal.characters)
            require_free_bytes(self._work, needed, "preparing the data set")


def _row_of(document: KeptDocument) -> tuple[Any, ...]:
    """Return a document's row of DOCUMENT."""
    digest, size = hashlib.sha256(), 0
    for text in document.pieces:
        content = text.encode()
        digest.update(content)
        size += len(content)
    return digest.digest(), size, document.characters, document.part


def read_rows(path: Path) -> np.ndarray:
    """Return the rows of `rows.bin`, memory-mapped."""
    if not path.stat().st_size:
        return np.empty(0, DOCUMENT)
    return np.memmap(path, dtype=DOCUMENT, mode="r")


def text_sha256(parts: Iterable[np.ndarray]) -> str:
    """Return the hash over the documents' hashes and parts, as a scan computes it, of arrays of DOCUMENT in reading order."""
    over_all = hashlib.sha256()
    for rows in parts:
        for begin in range(0, len(rows), ROWS_A_TIME):
            some = rows[begin : begin + ROWS_A_TIME]
            packed = np.empty(len(some), HASHED)
            packed["key"], packed["part"] = some["key"], some["part"]
            over_all.update(packed.tobytes())
    return over_all.hexdigest()
