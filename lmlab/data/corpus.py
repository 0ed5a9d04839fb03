"""The documents of a corpus before it is prepared, to inspect a text and choose how to train on it."""

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
    """One document; `part` is train, valid or test if the corpus comes with a split."""

    text: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus whose files are on this machine."""

    source: Source
    column: str
    progress: Progress

    def documents(self, longest: int | None = None) -> Iterator[Document]:
        """Yield every document in order, read lazily; only its first `longest` characters (None: all).

        A document is yielded as soon as that much of it is read.
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
    """Return the corpus that `data` names, downloaded if necessary; raises LabError if it is unavailable."""
    root, progress = root or cache_folder(), progress or Silent()
    return Corpus(source=resolve(data, root, progress), column=data.column, progress=progress)
