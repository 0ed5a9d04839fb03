"""The growing token files of a data set that is being prepared, and the first token of each document in them.

The work folder holds `tokens-<split>.bin` and `starts-<split>.bin`, which only grow. What is in them up to the counts of a journal
counts; a process that continues truncates them to these counts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from lmlab import LabError
from lmlab.data.split import SPLITS
from lmlab.files import DISK, BlockWriter

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


class SplitCounts(Protocol):
    """A journal's counts of what is in the files, for each of SPLITS; appending increases them."""

    tokens: list[int]
    documents: list[int]


def token_type(vocabulary_size: int) -> np.dtype:
    """Return the smallest of uint16 and uint32 that holds every id, little-endian."""
    return np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")


def tokens_file(split: str) -> str:
    """Return the name of a split's token file."""
    return f"tokens-{split}.bin"


def starts_file(split: str) -> str:
    """Return the name of the file with the first token of each document, used while the data set is being built."""
    return f"starts-{split}.bin"


@contextlib.contextmanager
def growing_file(path: Path, length: int) -> Iterator[BlockWriter]:
    """Open a file of a work folder for appending behind its first `length` bytes; what follows them is removed.

    Raises LabError if it is shorter.
    """
    with DISK.open(path, "ab") as file:
        if os.fstat(file.fileno()).st_size < length:
            raise LabError(f"{path} is shorter than its journal states: delete {path.parent} and prepare again")
        DISK.truncate(file, length)
        yield BlockWriter(file)


class TokenFiles:
    """The growing token and start files of every split. A context manager, which closes them."""

    def __init__(self, work: Path, kind: np.dtype, counts: SplitCounts) -> None:
        """Open the files in `work`, with tokens of type `kind`, and truncate them to `counts`, which are kept up to date."""
        self._kind, self._counts = kind, counts
        with contextlib.ExitStack() as stack:
            self._tokens = [
                stack.enter_context(growing_file(work / tokens_file(split), counts.tokens[index] * kind.itemsize))
                for index, split in enumerate(SPLITS)
            ]
            self._starts = [
                stack.enter_context(growing_file(work / starts_file(split), counts.documents[index] * START_BYTES))
                for index, split in enumerate(SPLITS)
            ]
            DISK.flush_folder(work)  # a journal never refers to a file whose directory entry could be lost
            self._opened = stack.pop_all()

    def __enter__(self) -> TokenFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    @property
    def bytes_written(self) -> int:
        """The size of the token files."""
        return sum(self._counts.tokens) * self._kind.itemsize

    def append(self, items: Sequence[EncodingItem], arrays: Sequence[np.ndarray], marks: Marks) -> None:
        """Append the ids of a batch, in the order of its items."""
        begin, end = (np.array([] if mark is None else [mark], dtype=self._kind) for mark in marks)
        written: list[list[np.ndarray]] = [[] for _ in SPLITS]
        starts: list[list[int]] = [[] for _ in SPLITS]
        for item, ids in zip(items, arrays, strict=True):
            if item.first:
                starts[item.split].append(self._counts.tokens[item.split])
            parts = [*([begin] if item.first else []), ids.astype(self._kind), *([end] if item.last else [])]
            written[item.split] += parts
            self._counts.tokens[item.split] += sum(map(len, parts))
        for index in range(len(SPLITS)):
            for array in written[index]:
                self._tokens[index].write(array.data)
            self._starts[index].write(np.array(starts[index], dtype="<i8").tobytes())
            self._counts.documents[index] += len(starts[index])

    def flush(self) -> None:
        """Return when everything appended so far is on the disk."""
        for file in (*self._tokens, *self._starts):
            file.flush()
