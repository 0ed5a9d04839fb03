"""A corpus as documents, before it is prepared: to look at a text and choose how to train on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmlab.data.progress import Progress, Silent
from lmlab.data.scan import source_pieces
from lmlab.data.sources import Source, resolve
from lmlab.files import cache_folder
from lmlab.recipe import Data


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document; `part` is train, valid or test where the corpus comes with a split."""

    text: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus whose files are here."""

    source: Source
    column: str
    progress: Progress

    def documents(self, longest: int | None = None) -> Iterator[Document]:
        """Yield every document in order, read as it's asked for; of each only the first `longest` characters (None: all).

        A document is given as soon as so much of it is read.
        """
        held: list[str] = []
        missing = longest
        for piece in source_pieces(self.source, self.column, f"reading {self.source.name}", self.progress):
            if missing is None or missing > 0:
                held.append(piece.text if missing is None else piece.text[:missing])
                missing = None if missing is None else missing - len(held[-1])
                if piece.last or missing == 0:
                    yield Document(text="".join(held), part=piece.part)
                    held = []
            if piece.last:
                missing = longest


def open_corpus(data: Data, root: Path | None = None, progress: Progress | None = None) -> Corpus:
    """Return the corpus that `data` names, downloaded where it must be; raises LabError if it can't be had."""
    root, progress = root or cache_folder(), progress or Silent()
    return Corpus(source=resolve(data, root, progress), column=data.column, progress=progress)
