"""Very long lines, and boilerplate: lines that occur in many documents.

Boilerplate is found in two passes with bounded memory. The first counts line hashes in a table in which different lines may share a
cell, so counts are upper bounds; the second counts exactly the lines whose cell reaches the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lmlab.data.hygiene.hashing import mixed, random_words, span_hashes
from lmlab.data.hygiene.stretches import Stretch
from lmlab.data.units import FEWEST_DOCUMENTS

LONG_LINE_BYTES = 10_000
REPEATED_LINE_BYTES = 20
"""Shorter lines repeat naturally."""
FEWEST_REPEATS = 10
DOCUMENTS_A_REPEAT = 1000
"""Boilerplate occurs in at least one of so many documents."""
CELLS = 1 << 22

VALUES = random_words("lmlab lines", 256)


def fewest_repeats(documents: int) -> int:
    """Return in how many documents a line must occur to be boilerplate (with few documents: how many times)."""
    return max(FEWEST_REPEATS, documents // DOCUMENTS_A_REPEAT)


class LongLines:
    """Finds the lines of LONG_LINE_BYTES or more, including those that span several stretches."""

    def __init__(self) -> None:
        self._carried = 0

    def find(self, stretch: Stretch) -> tuple[np.ndarray, np.ndarray]:
        """Return (place in the stretch, length), int64, of the long lines that end here; a negative place is before the stretch."""
        breaks = _breaks(stretch.text)
        begins = np.append(0, breaks[:-1] + 1)[: len(breaks)]
        begins[:1] -= self._carried
        lengths = breaks - begins
        self._carried = len(stretch.text) - int(breaks[-1]) - 1 if len(breaks) else self._carried + len(stretch.text)
        long = lengths >= LONG_LINE_BYTES
        return begins[long], lengths[long]


@dataclass
class Repeated:
    """A line that occurs often."""

    line: bytes
    document: int
    offset: int
    """The first occurrence is at `offset` in `document`."""
    count: int = 0
    documents: int = 0
    last_document: int = -1


@dataclass
class Boilerplate:
    """The two passes over one split: `sketch` every stretch, then, if `hopeful`, `count` every stretch, then `found`."""

    documents: int
    cells: np.ndarray = field(default_factory=lambda: np.zeros(CELLS, np.uint32))
    seen: dict[int, Repeated] = field(default_factory=dict)

    @property
    def by_document(self) -> bool:
        """Whether documents are counted, rather than occurrences, of which a document may have several."""
        return self.documents >= FEWEST_DOCUMENTS

    @property
    def hopeful(self) -> bool:
        """Whether any line may occur often enough, after the first pass."""
        return bool((self.cells >= fewest_repeats(self.documents)).any())

    def sketch(self, stretch: Stretch) -> None:
        """Add a stretch in the first pass."""
        begins, _, hashes = _lines(stretch)
        if self.by_document and len(begins):
            documents = stretch.places(begins)[0]
            order = np.lexsort((hashes, documents))
            hashes, documents = hashes[order], documents[order]
            first = np.append(True, (hashes[1:] != hashes[:-1]) | (documents[1:] != documents[:-1]))
            hashes = hashes[first]
        cells, counts = np.unique(hashes & np.uint64(CELLS - 1), return_counts=True)
        self.cells[cells.astype(np.int64)] += counts.astype(np.uint32)

    def count(self, stretch: Stretch, shown: bytes) -> None:
        """Add a stretch in the second pass; `shown` is its text with secrets masked, for the report."""
        begins, ends, hashes = _lines(stretch)
        often = self.cells[(hashes & np.uint64(CELLS - 1)).astype(np.int64)] >= fewest_repeats(self.documents)
        begins, ends, hashes = begins[often], ends[often], hashes[often]
        documents, offsets = stretch.places(begins)
        for key, document, offset, begin, end in zip(
            hashes.tolist(), documents.tolist(), offsets.tolist(), begins.tolist(), ends.tolist(), strict=True
        ):
            line = self.seen.get(key)
            if line is None:
                line = self.seen[key] = Repeated(shown[begin:end], document, offset)
            line.count += 1
            line.documents += document != line.last_document
            line.last_document = document

    def found(self) -> list[Repeated]:
        """Return the boilerplate, sorted by the bytes that it takes, largest first."""
        least = fewest_repeats(self.documents)
        often = [
            line
            for line in self.seen.values()
            if (line.documents if self.by_document else line.count) >= least
            and len(line.line.strip()) >= REPEATED_LINE_BYTES
        ]
        return sorted(often, key=lambda line: (-line.count * len(line.line), line.document, line.offset))


def _breaks(text: bytes) -> np.ndarray:
    return np.flatnonzero(np.frombuffer(text, np.uint8) == 0x0A)


def _lines(stretch: Stretch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (first byte, end, hash) of each line of REPEATED_LINE_BYTES or more, including its indentation."""
    ends = _breaks(stretch.text)
    begins = np.append(0, ends[:-1] + 1)[: len(ends)]
    long = ends - begins >= REPEATED_LINE_BYTES
    begins, ends = begins[long], ends[long]
    return begins, ends, mixed(span_hashes(VALUES[np.frombuffer(stretch.text, np.uint8)], begins, ends))
