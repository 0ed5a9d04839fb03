"""Small things that several tests of the data package use."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import zstandard

from lmlab.data.documents import ReadingFindings, pieces, rule_of
from lmlab.data.progress import Silent
from lmlab.data.readers import SourceFile, describe_name

PACKERS = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


class Listener:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int | None]] = []
        self.lines: list[str] = []
        self.done: list[int] = []
        self.ended = False

    def begin(self, task: str, total: int | None, unit: str = "bytes") -> None:
        self.ended = False
        self.tasks.append((task, total))
        self.done.append(0)

    def advance(self, amount: int) -> None:
        self.done[-1] += amount

    def say(self, line: str) -> None:
        self.lines.append(line)

    def end(self) -> None:
        self.ended = True


def source_file(path: Path, **fields: str) -> SourceFile:
    """The SourceFile of a path, by its name."""
    kind, packing = describe_name(path.name)
    return SourceFile(**{"name": path.name, "path": path, "kind": kind, "packing": packing, **fields})


def documents_in(
    *paths: Path, separator: str = "", default: str = "marker", column: str = "text", **options
) -> list[str]:
    """The documents of files, each whole."""
    return documents_and_findings(*paths, separator=separator, default=default, column=column, **options)[0]


def documents_and_findings(
    *paths: Path, separator: str = "", default: str = "marker", column: str = "text", **options
) -> tuple[list[str], ReadingFindings]:
    """The documents of files, each whole, and what else was found."""
    findings = ReadingFindings()
    files = [source_file(path) for path in paths]
    found, held = [], ""
    for piece in pieces(files, rule_of(separator, default), column, Silent(), findings, **options):
        held += piece.text
        if piece.last:
            found.append(held)
            held = ""
    assert held == ""
    return found, findings


def write_stories(path: Path, count: int, first: int = 0) -> list[str]:
    """`count` distinct short documents with markers between them; returns their texts."""
    random = np.random.default_rng(first)
    words = ["sun", "sea", "a", "the", "bird", "sang", "ran", "über", "\n", "home,", "and", "it's", "42"]
    texts = [f"Story {number}: {' '.join(random.choice(words, 40))}." for number in range(first, first + count)]
    path.write_text("\n<|endoftext|>\n".join(texts) + "\n", encoding="utf-8")
    return texts
